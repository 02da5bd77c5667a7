"""Batch normalisation (Ioffe & Szegedy 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MOMENTUM = 0.1  # weight of the newest statistics in their moving averages
EPSILON = 1e-5  # added to the variance


class BatchNorm(nn.Module):
    """Batch normalisation of each channel, with a scale and a shift.

    Evaluation uses the moving averages of mean and variance, as does a layer whose parameters are frozen. Where several
    replicas train, `parallelize` makes the statistics those of the global batch.

    Args:
        channels: number of channels.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (images, channels, side, side); a single value for each channel by the moving averages, as it has no variance."""
        has_variance = x.numel() > x.shape[1]
        training = self.training and has_variance and self.weight.requires_grad
        return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, training, MOMENTUM, EPSILON)

    def extra_repr(self) -> str:
        """Return the number of channels, as `print(net)` shows it."""
        return f"{len(self.weight)}"
