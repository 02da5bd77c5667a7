"""A linear rise until `peak`, then a linear fall to `final` (Smith & Topin 2018)."""

from __future__ import annotations

from distalex.config.optim import OptimConfig
from distalex.optim.progress import Progress

WARMS_UP = True


def share(progress: Progress, config: OptimConfig) -> float:
    """Return the learning rate as a share of `optim.lr`, 0.04 at the start."""
    if progress.done < config.peak:
        return 0.04 + 0.96 * progress.done / config.peak
    return config.final + (1 - config.final) * (1 - progress.done) / (1 - config.peak)
