"""Batch normalisation with the statistics of the global batch, on any number of replicas.

PyTorch's SyncBatchNorm does the same on GPUs only. A process sends two numbers for each channel of a layer, forward and backward.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from distalex.model.batch_norm import BatchNorm, TorchBatchNorm
from distalex.parallel.mesh import Mesh
from distalex.parallel.traffic import all_reduce_bytes

Layer = BatchNorm | TorchBatchNorm


def share_statistics(net: nn.Module, mesh: Mesh) -> None:
    """Make every batch normalisation of `net` use the statistics of all processes with different images, in place.

    Some of the processes may have no image.
    """
    if mesh.gradient_group is None:
        return
    for layer in net.modules():
        if isinstance(layer, Layer):
            layer.over = partial(_normalise_over, mesh)


def _normalise_over(mesh: Mesh, x: Tensor, layer: Layer) -> Tensor:
    """Normalise this process's images `x` (images, channels, …)."""
    return _Normalised.apply(x, layer.weight, layer.bias, layer, mesh)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, layer: Layer, mesh: Mesh) -> Tensor:
        mean, variance, count = _statistics(x, mesh)
        averages, rate = layer.moving, layer.rate()
        moving = [average.to(mean.dtype, copy=True) for average in averages]
        has_variance = count > 1  # a single value for each channel is normalised by the moving averages, as by one process
        mean, variance = (torch.where(has_variance, *pair) for pair in zip((mean, variance), moving, strict=True))
        unbiased = torch.where(has_variance, variance * count / (count - 1), variance)
        for average, newest in zip(averages, (mean, unbiased), strict=True):
            average.lerp_(newest.to(average.dtype), rate)
        ctx.save_for_backward(x, weight, mean, variance, torch.where(has_variance, count, math.inf))
        ctx.layer, ctx.mesh = layer, mesh
        scale, shift = (None if value is None else value.to(mean.dtype) for value in (weight, bias))
        return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, layer.eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        wide, over = (1, -1, *[1] * (x.dim() - 2)), _all_but_channels(x)  # the shape that broadcasts one number for each channel
        gradient = gradients[0].to(mean.dtype)
        scale = torch.rsqrt(variance + ctx.layer.eps)
        normal = (x.to(mean.dtype) - mean.view(wide)) * scale.view(wide)
        own = torch.stack([gradient.sum(over), (gradient * normal).sum(over)])  # gradients of shift and scale, which DDP sums
        shift, slope = _sum(own.clone(), ctx.mesh) / count
        slope_of_all = scale if weight is None else scale * weight
        through = (gradient - shift.view(wide) - normal * slope.view(wide)) * slope_of_all.view(wide)
        needed = [None if weight is None else one.to(weight.dtype) for one in (own[1], own[0])]
        return through.to(x.dtype), *needed, None, None


def _statistics(x: Tensor, mesh: Mesh) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance of each channel, and the number of pixels, over all processes.

    Squares are of the distance to the common mean, since sums of large squares lose digits.
    """
    x, over = x.to(torch.promote_types(x.dtype, torch.float32)), _all_but_channels(x)
    count = torch.full((1,), x.numel() // x.shape[1], dtype=x.dtype, device=x.device)
    *total, count = _sum(torch.cat([x.sum(over), count]), mesh).split([x.shape[1], 1])
    mean = total[0] / count
    squares = (x - mean.view(1, -1, *[1] * (x.dim() - 2))).square().sum(over)
    return mean, _sum(squares, mesh) / count, count


def _sum(values: Tensor, mesh: Mesh) -> Tensor:
    """Sum over all processes, in place."""
    group = mesh.gradient_group
    assert group is not None
    mesh.traffic.send("statistics", all_reduce_bytes(values.nbytes, group.size()))
    with mesh.traffic.waiting("statistics", values.device):
        dist.all_reduce(values, group=group)
    return values


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    """Return the dimensions of `x` but 1, that of the channels."""
    return (0, *range(2, x.dim()))
