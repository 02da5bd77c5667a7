"""Batch normalisation (Ioffe & Szegedy 2015): of our own networks, and of PyTorch's layers in others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

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
    eps = EPSILON
    over: Callable[[Tensor, BatchNorm | TorchBatchNorm], Tensor] | None = None
    """Normalises a batch of which this process has a share; None where it has all of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    @property
    def moving(self) -> tuple[Tensor, Tensor]:
        """Return the moving averages of mean and variance, (channels,) each."""
        return self.mean, self.variance

    def rate(self) -> float:
        """Return the weight of this batch's statistics in the moving averages."""
        return MOMENTUM

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (images, channels, side, side); a single value for each channel by the moving averages, as it has no variance."""
        return _normalise(x, self)

    def extra_repr(self) -> str:
        """Return the number of channels, as `print(net)` shows it."""
        return f"{len(self.weight)}"


class TorchBatchNorm(_BatchNorm):
    """A layer of PyTorch's (BatchNorm1d to 3d, SyncBatchNorm) that normalises as `BatchNorm` does; what it holds keeps its names.

    `adopt_batch_norm` makes it of an existing layer.
    """

    over: Callable[[Tensor, BatchNorm | TorchBatchNorm], Tensor] | None = None
    """As in `BatchNorm`."""

    @property
    def moving(self) -> tuple[Tensor, Tensor]:
        """Return the moving averages of mean and variance, (channels,) each."""
        assert self.running_mean is not None and self.running_var is not None
        return self.running_mean, self.running_var

    def rate(self) -> float:
        """Count the batch and return the weight of its statistics; without a momentum all batches weigh the same."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (images, channels, …)."""
        return _normalise(x, self)


def adopt_batch_norm(layer: _BatchNorm) -> None:
    """Make a layer of PyTorch's a `TorchBatchNorm`, in place, wherever the network refers to it."""
    layer.__class__ = TorchBatchNorm


def _normalise(x: Tensor, layer: BatchNorm | TorchBatchNorm) -> Tensor:
    """Normalise by the batch's statistics in training; by the moving averages in evaluation and where the layer is frozen."""
    learns = layer.training and (layer.weight is None or layer.weight.requires_grad)
    if learns and layer.over is not None:
        return layer.over(x, layer)
    mean, variance = layer.moving
    rate = layer.rate() if learns else 0.0
    training = learns and x.numel() > x.shape[1]
    return functional.batch_norm(x, mean, variance, layer.weight, layer.bias, training, rate, layer.eps)
