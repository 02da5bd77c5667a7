"""Local response normalisation (Section 3.3) by a kernel or a banded 1x1 convolution, as autograd functions.

    b_i = a_i / s_i ** beta        s_i = k + alpha / n * sum of a_j ** 2 over the n channels around i

`alpha / n` is PyTorch's convention: the paper's alpha of 1e-4 is 5e-4 here, the released code's is 1e-4. Channels of one
column are normalised among themselves, so that the band ends at every column's edge. torch.nn.LocalResponseNorm computes the sum as a
3-D average pool, on a CPU in fp32 only, and would be the slowest layer of the network. The paper's window and exponent use the kernels
of kernels/lrn_numba.py and kernels/lrn_triton.py, everything else the convolution.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex.kernels.available import has_triton, is_traced


def band(channels: int, window: int, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a (channels, channels, 1, 1) kernel: ones where two channels of one column are at most half a window apart."""
    make = _make_band if is_traced() else _cached_band  # a traced tensor must not be cached
    return make(channels, window, columns, device, dtype)


def _make_band(channels: int, window: int, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    index = torch.arange(channels, device=device)
    near = (index[:, None] - index[None, :]).abs() <= window // 2
    column = index // (channels // columns)
    return (near & (column[:, None] == column[None, :])).to(dtype)[:, :, None, None]


_cached_band = lru_cache(maxsize=16)(_make_band)


class _FusedNorm(torch.autograd.Function):
    """The ReLU and the normalisation in one pass of a kernel, with the paper's window and exponent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Any, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x)
        ctx.kernel, ctx.options = kernel, (alpha, k, columns, rectifies)
        return kernel.forward(x, *ctx.options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        return ctx.kernel.backward(gradient, x, *ctx.options), *[None] * 5


class _BandedNorm(torch.autograd.Function):
    """The normalisation with sums by a banded 1x1 convolution, for any window and exponent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int, alpha: float, beta: float, k: float, columns: int) -> Tensor:
        scale = _scale(x, window, alpha, k, columns)
        power = _power(scale, beta)
        ctx.save_for_backward(x, scale, power)
        ctx.options = window, alpha, beta, columns
        return x * power

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        window, alpha, beta, columns = ctx.options
        x, scale, power = ctx.saved_tensors
        through_scale = (gradient * x).mul_(power).div_(scale)  # d b_i / d s_i, without its factor -beta
        sums = functional.conv2d(through_scale, band(x.shape[1], window, columns, x.device, x.dtype))
        return gradient * power - sums.mul_(x).mul_(2.0 * alpha * beta / window), *[None] * 5


def _kernel(x: Tensor, window: int, beta: float, columns: int) -> Any:
    """Return the module that normalises in one pass, for the paper's window and exponent unless traced; else None."""
    if window != 5 or beta != 0.75 or x.dtype not in (torch.float32, torch.bfloat16) or is_traced():
        return None
    if x.device.type == "cpu":
        from distalex.kernels import lrn_numba

        return lrn_numba
    if has_triton(x.device):
        from distalex.kernels import lrn_triton

        return lrn_triton if lrn_triton.can_take(x.shape[1], columns) else None
    return None


def _scale(x: Tensor, window: int, alpha: float, k: float, columns: int) -> Tensor:
    """Return s_i of each channel."""
    sums = functional.conv2d(x * x, band(x.shape[1], window, columns, x.device, x.dtype))
    return sums.mul_(alpha / window).add_(k)


def _power(scale: Tensor, beta: float) -> Tensor:
    """Return scale ** -beta; the paper's beta of 3/4 takes two square roots, faster than a general power."""
    if beta != 0.75:
        return scale.pow(-beta)
    root = scale.rsqrt()
    return root.sqrt().mul_(root)


def local_response_norm(
    x: Tensor,
    window: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    columns: int = 1,
    rectifies: bool = False,
) -> Tensor:
    """Normalise `x` (images, channels, height, width) over `window` adjacent channels of the same column.

    Equals torch.nn.LocalResponseNorm applied to each column. The result has the dtype of `x`. It is channels-last for a window of 5
    and beta of 0.75, to which a contiguous `x` is converted first, and has the memory format of `x` for others.

    Args:
        x: images.
        window: number of channels, n above.
        alpha: scale of the sum, as PyTorch counts it.
        beta: exponent.
        k: constant added to the sum.
        columns: number of columns of equal width among the channels.
        rectifies: apply a ReLU to `x` first.
    """
    kernel = _kernel(x, window, beta, columns)
    if kernel is not None:
        return _FusedNorm.apply(x, kernel, alpha, k, columns, rectifies)
    if rectifies:
        x = functional.relu(x)
    if x.dtype != torch.bfloat16 or x.is_meta:  # autocast refuses the planner's meta tensors
        return _BandedNorm.apply(x, window, alpha, beta, k, columns)
    with torch.autocast(x.device.type, enabled=False):  # in fp32, as the kernels compute
        return _BandedNorm.apply(x.float(), window, alpha, beta, k, columns).to(x.dtype)


class LocalResponseNorm(nn.Module):
    """A ReLU, then local response normalisation with the paper's window of 5, beta of 0.75 and k of 2 (Section 3.3).

    Args:
        alpha: scale of the sum, as PyTorch counts it.
        columns: number of columns among the channels.
    """

    def __init__(self, alpha: float, columns: int) -> None:
        super().__init__()
        self.alpha, self.columns = alpha, columns

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (images, channels, height, width)."""
        return local_response_norm(x, alpha=self.alpha, columns=self.columns, rectifies=True)

    def extra_repr(self) -> str:
        """Return the constants, as `print(net)` shows them."""
        return f"window=5, alpha={self.alpha}, beta=0.75, k=2, columns={self.columns}, after a ReLU"
