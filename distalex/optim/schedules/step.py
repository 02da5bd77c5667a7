"""The learning rate is multiplied by `factor` at each of `milestones`."""

from __future__ import annotations

from distalex.config.optim import OptimConfig
from distalex.optim.progress import Progress


def share(progress: Progress, config: OptimConfig) -> float:
    """Return the learning rate as a share of `optim.lr`."""
    return config.factor ** sum(progress.done >= milestone for milestone in config.milestones)
