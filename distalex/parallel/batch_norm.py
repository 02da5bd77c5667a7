"""Batch normalisation with the statistics of the global batch, on any number of replicas.

PyTorch's SyncBatchNorm does the same on GPUs only. A process sends two numbers for each channel of a layer, forward and backward.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from distalex.model.batch_norm import EPSILON, MOMENTUM, BatchNorm
from distalex.parallel.mesh import Mesh
from distalex.parallel.traffic import all_reduce_bytes

DIMENSIONS = (0, 2, 3)  # images, height and width; dimension 1 is the channels


def share_statistics(net: nn.Module, mesh: Mesh) -> None:
    """Make every batch normalisation of `net` use the statistics of all processes with different images, in place."""
    for name, layer in list(net.named_modules()):
        if isinstance(layer, BatchNorm) and mesh.gradient_group is not None:
            net.set_submodule(name, BatchNormOfAll(layer, mesh))


class BatchNormOfAll(BatchNorm):
    """Batch normalisation over the images of several processes, some of which may have none."""

    def __init__(self, layer: BatchNorm, mesh: Mesh) -> None:
        nn.Module.__init__(self)  # parameters and buffers are those of `layer`, frozen or not
        self.weight, self.bias, self.mesh = layer.weight, layer.bias, mesh
        self.register_buffer("mean", layer.mean)
        self.register_buffer("variance", layer.variance)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise this process's images `x` (images, channels, side, side)."""
        return _Normalised.apply(x, self.weight, self.bias, self) if self.training and self.weight.requires_grad else super().forward(x)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: BatchNormOfAll) -> Tensor:
        mean, variance, count = _statistics(x, layer)
        moving = [average.to(mean.dtype, copy=True) for average in (layer.mean, layer.variance)]
        has_variance = count > 1  # a single value for each channel is normalised by the moving averages, as by `BatchNorm`
        mean, variance = (torch.where(has_variance, *pair) for pair in zip((mean, variance), moving, strict=True))
        unbiased = torch.where(has_variance, variance * count / (count - 1), variance)
        layer.mean.lerp_(mean.to(layer.mean.dtype), MOMENTUM)
        layer.variance.lerp_(unbiased.to(layer.variance.dtype), MOMENTUM)
        ctx.save_for_backward(x, weight, mean, variance, torch.where(has_variance, count, math.inf))
        ctx.layer = layer
        return functional.batch_norm(x, mean, variance, weight.to(mean.dtype), bias.to(mean.dtype), False, 0.0, EPSILON)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        scale = torch.rsqrt(variance + EPSILON)
        normal = (x.to(mean.dtype) - _wide(mean)) * _wide(scale)
        own = torch.stack([gradient.sum(DIMENSIONS), (gradient * normal).sum(DIMENSIONS)])  # gradients of shift and scale, which DDP sums
        shift, slope = _sum(own.clone(), ctx.layer.mesh) / count
        through = (gradient - _wide(shift) - normal * _wide(slope)) * _wide(scale * weight)
        return through.to(x.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None


def _statistics(x: Tensor, layer: BatchNormOfAll) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance of each channel, and the number of pixels, over all processes.

    Squares are of the distance to the common mean, since sums of large squares lose digits.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    count = torch.full((1,), x.numel() // x.shape[1], dtype=x.dtype, device=x.device)
    *total, count = _sum(torch.cat([x.sum(DIMENSIONS), count]), layer.mesh).split([x.shape[1], 1])
    mean = total[0] / count
    squares = (x - _wide(mean)).square().sum(DIMENSIONS)
    return mean, _sum(squares, layer.mesh) / count, count


def _sum(values: Tensor, mesh: Mesh) -> Tensor:
    """Sum over all processes, in place."""
    group = mesh.gradient_group
    assert group is not None
    mesh.traffic.send("statistics", all_reduce_bytes(values.nbytes, group.size()))
    with mesh.traffic.waiting("statistics", values.device):
        dist.all_reduce(values, group=group)
    return values


def _wide(channels: Tensor) -> Tensor:
    """Give one number for each channel the shape that broadcasts over (images, channels, side, side)."""
    return channels[:, None, None]
