"""Local response normalisation (Section 3.3) as one autograd function around a banded 1x1 convolution.

    b_i = a_i / s_i ** beta        s_i = k + alpha / n * sum of a_j ** 2 over the n channels around i

`alpha / n` is PyTorch's convention: the text's alpha of 1e-4 is 5e-4 here, the released code's is 1e-4. Channels of one
column only see each other, so the band is cut at every column's edge. torch.nn.LocalResponseNorm runs the sum as a 3-D
average pool, in fp32 only on a CPU, and is the slowest thing in the network. The paper's window and exponent take
`lrn_cpu` or `lrn_gpu`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex.kernels.available import has_triton, is_traced


def band(channels: int, window: int, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(channels, channels, 1, 1): ones where two channels of one column lie within half a window of each other."""
    make = _make_band if is_traced() else _kept_band  # what is traced must not be kept
    return make(channels, window, columns, device, dtype)


def _make_band(channels: int, window: int, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    index = torch.arange(channels, device=device)
    near = (index[:, None] - index[None, :]).abs() <= window // 2
    column = index // (channels // columns)
    return (near & (column[:, None] == column[None, :])).to(dtype)[:, :, None, None]


_kept_band = lru_cache(maxsize=16)(_make_band)


class _LocalResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int, alpha: float, beta: float, k: float, columns: int, rectifies: bool) -> Tensor:
        ctx.options = window, alpha, beta, k, columns, rectifies
        kernel = _kernel(x, window, beta)
        if kernel is not None:
            x = kernel.as_laid(x, columns)
            ctx.save_for_backward(x)
            return kernel.forward(x, alpha, k, columns, rectifies)
        scale = _scale(x, window, alpha, k, columns)
        power = _power(scale, beta)
        ctx.save_for_backward(x, scale, power)
        return x * power

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        window, alpha, beta, k, columns, rectifies = ctx.options
        if len(ctx.saved_tensors) == 1:
            (x,) = ctx.saved_tensors
            kernel = _kernel(x, window, beta)
            return kernel.backward(gradient, x, alpha, k, columns, rectifies), *[None] * 6
        x, scale, power = ctx.saved_tensors
        through_scale = (gradient * x).mul_(power).div_(scale)  # d b_i / d s_i, without its factor -beta
        sums = functional.conv2d(through_scale, band(x.shape[1], window, columns, x.device, x.dtype))
        return gradient * power - sums.mul_(x).mul_(2.0 * alpha * beta / window), *[None] * 6


def _kernel(x: Tensor, window: int, beta: float) -> Any:
    """The module that does this in one pass: for the paper's window and exponent, and not while it is traced; else None."""
    if window != 5 or beta != 0.75 or x.dtype not in (torch.float32, torch.bfloat16) or is_traced():
        return None
    if x.device.type == "cpu":
        from distalex.kernels import lrn_numba

        return lrn_numba
    if has_triton(x.device):
        from distalex.kernels import lrn_triton

        return lrn_triton
    return None


def _scale(x: Tensor, window: int, alpha: float, k: float, columns: int) -> Tensor:
    """s_i of each channel."""
    sums = functional.conv2d(x * x, band(x.shape[1], window, columns, x.device, x.dtype))
    return sums.mul_(alpha / window).add_(k)


def _power(scale: Tensor, beta: float) -> Tensor:
    """scale ** -beta; the paper's beta of 3/4 is two square roots, cheaper than a general power."""
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
    """Normalise `x` (batch, channels, height, width) over `window` neighbouring channels of the same column.

    Equal to torch.nn.LocalResponseNorm applied to every column by itself, with `rectifies` to ReLUs of it. Dtype is kept, and
    memory format too, but for contiguous images of under 128 pixels on a CPU, which become channels-last, and on a GPU where a
    column's channels are no multiple of 8.
    """
    if rectifies and _kernel(x, window, beta) is None:
        x, rectifies = functional.relu(x), False
    if torch.jit.is_tracing():  # TorchScript keeps no Python function, and runs forward only
        return x * _power(_scale(x, window, alpha, k, columns), beta)
    return _LocalResponseNorm.apply(x, window, alpha, beta, k, columns, rectifies)


class LocalResponseNorm(nn.Module):
    """A ReLU and then `local_response_norm` with the paper's window of 5, beta of 0.75 and k of 2 (Section 3.3)."""

    def __init__(self, alpha: float, columns: int) -> None:
        super().__init__()
        self.alpha, self.columns = alpha, columns

    def forward(self, x: Tensor) -> Tensor:
        return local_response_norm(x, alpha=self.alpha, columns=self.columns, rectifies=True)

    def extra_repr(self) -> str:
        return f"window=5, alpha={self.alpha}, beta=0.75, k=2, columns={self.columns}, after a ReLU"
