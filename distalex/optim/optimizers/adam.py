"""Adam (Kingma & Ba 2015): steps scaled by running averages of the gradient and its square."""

from __future__ import annotations

from typing import Any

import torch

from distalex.config.optim import OptimConfig
from distalex.optim.eager import eager
from distalex.optim.gradients import Norms

UPDATE_BYTES = 28  # for each parameter: weight, gradient and two moments are read, weight and moments written


def state_bytes(config: OptimConfig) -> int:
    """Bytes of optimizer state for each parameter: two moments."""
    return 8


def build(groups: list[dict[str, Any]], config: OptimConfig, norms: Norms) -> torch.optim.Optimizer:
    """Build torch.optim.Adam over parameter groups."""
    return eager(torch.optim.Adam)(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
