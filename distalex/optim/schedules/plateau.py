"""The rule of the paper: the learning rate is multiplied by `factor` when the test loss stops falling (Section 5)."""

from __future__ import annotations

from distalex.config.optim import OptimConfig
from distalex.optim.progress import Progress


def share(progress: Progress, config: OptimConfig) -> float:
    """Return the learning rate as a share of `optim.lr`."""
    return config.factor**progress.reductions
