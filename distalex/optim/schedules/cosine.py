"""Half a cosine wave from the full learning rate down to `final` (Loshchilov & Hutter 2017)."""

from __future__ import annotations

import math

from distalex.config.optim import OptimConfig
from distalex.optim.progress import Progress


def share(progress: Progress, config: OptimConfig) -> float:
    """Return the learning rate as a share of `optim.lr`."""
    return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress.after_warmup)) / 2
