"""What follows the convolutions of a GPU that has all columns, in one pass over memory each way (kernels/after_triton.py).

Backward it computes the gradients of the ReLU and the bias too, which the convolution leaves to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distalex.kernels.available import has_triton, is_traced
from distalex.model.lrn import LocalResponseNorm
from distalex.model.network import Network
from distalex.model.pool import MaxPool


def fuses(net: Network) -> bool:
    """Whether the kernels compute what follows each convolution of `net`: a ReLU, perhaps LRN, perhaps overlapping max-pooling."""
    return bool(net.followed_by) and all(_fuses(net, name, after) for name, after in net.followed_by.items())


def _fuses(net: Network, name: str, followed_by: str) -> bool:
    conv, modules = net.get_submodule(name), [*net.get_submodule(followed_by).children()]
    assert isinstance(conv, nn.Conv2d)
    pools = [module for module in modules if isinstance(module, MaxPool)]
    norms = [module for module in modules if isinstance(module, LocalResponseNorm)]
    kinds = {type(module) for module in modules}
    return (
        conv.bias is not None
        and conv.out_channels // net.columns % 8 == 0
        and kinds in ({nn.ReLU}, {nn.ReLU, MaxPool}, {LocalResponseNorm, MaxPool})
        and all(pool.window == 3 and pool.margin == 0 for pool in pools)
        and len(norms) <= 1
    )


def can_fuse(x: Tensor) -> bool:
    """Whether cuDNN rectifies and the kernels compute what follows: not while traced, in fp32 or bf16, of one image or more."""
    return (
        x.dtype in (torch.float32, torch.bfloat16) and len(x) > 0 and not is_traced() and has_triton(x.device) and torch.version.hip is None
    )


class Rectified(list[Tensor]):
    """What a convolution that rectified returns: one tensor or each column's. The gradient before its ReLU is expected in return."""


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Join the columns on the channels; where they are slices of one tensor already, without a copy."""
    first, channels = parts[0], sum(part.shape[1] for part in parts)
    if len(parts) == 1:
        return first
    if torch.is_grad_enabled() or is_traced():
        return torch.cat(list(parts), 1)
    ends = [part.storage_offset() + part.shape[1] for part in parts]
    adjoin = all(end == part.storage_offset() for end, part in zip(ends, parts[1:], strict=False))
    same = all(part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() for part in parts)
    if adjoin and same and first.stride(0) == channels * first[0, 0].numel():
        return first.as_strided((len(first), channels, *first.shape[2:]), first.stride(), first.storage_offset())
    return torch.cat(list(parts), 1)


class AfterColumns(nn.Module):
    """What follows a convolution of all columns: ReLU, normalisation and pooling.

    Args:
        modules: these, for one process and in this order.
        bias: the convolution's.
        columns: number of columns.
    """

    splits = False
    """Whether the result is a tensor for each column; else it is one tensor."""
    reads_own = False
    """Whether the convolution reads its own column only, so that it takes the gradient of each column by itself."""

    def __init__(self, modules: nn.Module, bias: Tensor | None, columns: int) -> None:
        super().__init__()
        self.plain = nn.Sequential(*modules.children())
        self.columns = columns
        self.bias = [bias]  # in a list, as it is the convolution's parameter and not this module's
        self.pools = any(isinstance(module, MaxPool) for module in self.plain)
        self.norm: tuple[float, float] | None = None
        for module in self.plain:
            if isinstance(module, LocalResponseNorm):
                module.columns, self.norm = 1, (module.alpha, 2.0)

    def forward(self, parts: Sequence[Tensor]) -> list[Tensor] | Tensor:
        """Take the convolution's result, one tensor or each column's, and return one or each column's."""
        rectified = isinstance(parts, Rectified)
        out = list(_After.apply(self.bias[0], self, *parts)) if rectified else [self.plain(part) for part in parts]
        return out if self.splits else joined(out)


class _After(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bias: Tensor, layer: AfterColumns, *parts: Tensor) -> tuple[Tensor, ...]:
        from distalex.kernels import after_triton

        ctx.layer, ctx.dtype, ctx.count = layer, bias.dtype, len(parts)
        if not layer.pools:
            ctx.save_for_backward(*parts)
            return parts
        columns = [column for part in parts for column in part.chunk(layer.columns // len(parts), 1)]
        side = [after_triton.pooled_side(length) for length in parts[0].shape[2:]]
        out, outs = _empty(columns, side, layer.splits)
        norm = layer.norm and after_triton.Norm(*layer.norm)
        kept = [after_triton.forward(column, into, norm) for column, into in zip(columns, outs, strict=True)]
        ctx.save_for_backward(*parts, *kept)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from distalex.kernels import after_triton

        layer = ctx.layer
        parts, kept = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        columns = [column for part in parts for column in part.chunk(layer.columns // ctx.count, 1)]
        given = [gradient.contiguous(memory_format=torch.channels_last) for gradient in gradients]
        of_columns = [column for gradient in given for column in gradient.chunk(layer.columns // len(given), 1)]
        whole, outs = _empty(columns, columns[0].shape[2:], layer.reads_own)
        norm = layer.norm and after_triton.Norm(*layer.norm)
        sums = [
            after_triton.backward(gradient, maxima, column, out, norm)
            for gradient, maxima, column, out in zip(of_columns, kept or [None] * len(columns), columns, outs, strict=True)
        ]
        return torch.cat(sums).to(ctx.dtype), None, *(whole if ctx.count == 1 else outs)


def _empty(columns: Sequence[Tensor], side: Sequence[int], splits: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Allocate a tensor for each of `columns`, or one for all, of `side` (height, width), channels-last; return these, and the columns'."""
    like, channels = columns[0], [column.shape[1] for column in columns]

    def empty(width: int) -> Tensor:
        return torch.empty((len(like), width, *side), dtype=like.dtype, device=like.device, memory_format=torch.channels_last)

    if splits:
        made = [empty(width) for width in channels]
        return made, made
    whole = empty(sum(channels))
    return [whole], list(whole.split(channels, 1))
