"""Clipping gradients by their norm."""

from __future__ import annotations

import torch
from torch import nn

from distalex.parallel.shards import Shards


def clip_gradients(net: nn.Module, largest: float, shards: Shards) -> None:
    """Scale the gradients of `net` down where the norm of the whole network's exceeds `largest`; waits for no device."""
    gradients = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    norm = torch.linalg.vector_norm(shards.norms(gradients))
    torch._foreach_mul_(list(gradients.values()), (largest / (norm + 1e-6)).clamp(max=1.0))
