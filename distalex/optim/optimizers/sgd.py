"""SGD with momentum, the paper's optimizer (Section 5)."""

from __future__ import annotations

from typing import Any

import torch

from distalex.config.optim import OptimConfig
from distalex.optim.eager import eager
from distalex.optim.gradients import Norms

UPDATE_BYTES = 20  # for each parameter: weight, gradient and momentum are read, weight and momentum written


def state_bytes(config: OptimConfig) -> int:
    """Bytes of optimizer state for each parameter: its momentum."""
    return 4 if config.momentum else 0


def build(groups: list[dict[str, Any]], config: OptimConfig, norms: Norms) -> torch.optim.Optimizer:
    """Build torch.optim.SGD over parameter groups."""
    nesterov = config.nesterov and config.momentum > 0
    return eager(torch.optim.SGD)(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=True)
