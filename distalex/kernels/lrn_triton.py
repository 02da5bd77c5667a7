"""Local response normalisation on a GPU (Section 3.3): one pass over memory each way, compiled by Triton.

Tensors are channels-last. A thread holds eight neighbouring channels of a pixel, so that all but the outermost windows lie within
it, and reads the few channels around them as well. The backward pass computes the sums of squares again instead of saving them,
because memory traffic is what limits it.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

THREADS = 128  # of a program (block)


@triton.jit
def _rectified(x, rectifies: tl.constexpr):
    if rectifies:
        return tl.where(x <= 0.0, 0.0, x)  # which keeps a NaN
    else:
        return x


@triton.jit
def _read(pointer, mask, rectifies: tl.constexpr):
    """Values in fp32; zero where `mask` is false."""
    return _rectified(tl.load(pointer, mask=mask, other=0.0).to(tl.float32), rectifies)


@triton.jit
def _power(scale):
    """scale ** -0.75."""
    root = tl.math.rsqrt(scale)
    return root * tl.sqrt(root)


@triton.jit
def _both(x, gradient, scale):
    """What reaches the window's channels, gradient * x * scale ** -1.75, and the direct part, gradient * scale ** -0.75."""
    root = tl.math.rsqrt(scale)
    power = root * tl.sqrt(root)
    return gradient * x * power * root * root, gradient * power


@triton.jit
def _eight(x, n: tl.constexpr):
    """(n, 8) -> eight tensors of (n,), without moving data between threads."""
    even, odd = tl.split(tl.reshape(x, (n, 2, 2, 2)))
    a, c = tl.split(even)
    b, d = tl.split(odd)
    a0, a4 = tl.split(a)
    a1, a5 = tl.split(b)
    a2, a6 = tl.split(c)
    a3, a7 = tl.split(d)
    return a0, a1, a2, a3, a4, a5, a6, a7


@triton.jit
def _as_one(a0, a1, a2, a3, a4, a5, a6, a7, n: tl.constexpr):
    """The inverse of `_eight`."""
    even, odd = tl.join(tl.join(a0, a4), tl.join(a2, a6)), tl.join(tl.join(a1, a5), tl.join(a3, a7))
    return tl.reshape(tl.join(even, odd), (n, 8))


@triton.jit
def _four(x, n: tl.constexpr):
    """(n, 4) -> four tensors of (n,), without moving data between threads."""
    even, odd = tl.split(tl.reshape(x, (n, 2, 2)))
    a0, a2 = tl.split(even)
    a1, a3 = tl.split(odd)
    return a0, a1, a2, a3


@triton.jit
def _groups(groups, groups_of_column, n: tl.constexpr):
    """Of this program's `n` groups of eight channels: the offset, and whether it, the one before and the one after in its column exist."""
    group = tl.program_id(0).to(tl.int64) * n + tl.arange(0, n)
    exists, place = group < groups, group % groups_of_column
    return group * 8, exists, exists & (place > 0), exists & (place < groups_of_column - 1)


@triton.jit
def normalised(near, exists, below, above, ratio, k, rectifies: tl.constexpr, n: tl.constexpr):
    """The eight channels at each of `near`, pointers (n,), normalised: (n, 8) fp32.

    `exists` (n,) says where there are any, `below` and `above` where the column has channels before and after these.
    """
    two, eight = tl.arange(0, 2)[None, :], tl.arange(0, 8)[None, :]
    x0, x1 = tl.split(_read(near[:, None] - 2 + two, below[:, None], rectifies))
    x2, x3, x4, x5, x6, x7, x8, x9 = _eight(_read(near[:, None] + eight, exists[:, None], rectifies), n)
    x10, x11 = tl.split(_read(near[:, None] + 8 + two, above[:, None], rectifies))
    a0, a1, a2, a3, a4, a5 = x0 * x0, x1 * x1, x2 * x2, x3 * x3, x4 * x4, x5 * x5
    a6, a7, a8, a9, a10, a11 = x6 * x6, x7 * x7, x8 * x8, x9 * x9, x10 * x10, x11 * x11
    return _as_one(
        x2 * _power(k + ratio * (a0 + a1 + a2 + a3 + a4)),
        x3 * _power(k + ratio * (a1 + a2 + a3 + a4 + a5)),
        x4 * _power(k + ratio * (a2 + a3 + a4 + a5 + a6)),
        x5 * _power(k + ratio * (a3 + a4 + a5 + a6 + a7)),
        x6 * _power(k + ratio * (a4 + a5 + a6 + a7 + a8)),
        x7 * _power(k + ratio * (a5 + a6 + a7 + a8 + a9)),
        x8 * _power(k + ratio * (a6 + a7 + a8 + a9 + a10)),
        x9 * _power(k + ratio * (a7 + a8 + a9 + a10 + a11)),
        n,
    )


@triton.jit
def gradient_through(near, before, gradient, after, exists, below, above, ratio, k, factor, rectifies: tl.constexpr, n: tl.constexpr):
    """The gradient of `normalised`'s input at `near`: (n, 8) fp32.

    `gradient` (n, 8) is that of its result, `before` and `after` (n, 2) those of the two channels before and after, 0 where there are
    none. `factor` is 2 * alpha * beta / window; other arguments as for `normalised`.
    """
    # Channel i of the eight is i + 4 here: scales are needed two further out than what is returned, values two further again.
    four, eight = tl.arange(0, 4)[None, :], tl.arange(0, 8)[None, :]
    x0, x1, x2, x3 = _four(_read(near[:, None] - 4 + four, below[:, None], rectifies), n)
    x = _read(near[:, None] + eight, exists[:, None], rectifies)
    x4, x5, x6, x7, x8, x9, x10, x11 = _eight(x, n)
    x12, x13, x14, x15 = _four(_read(near[:, None] + 8 + four, above[:, None], rectifies), n)
    g2, g3 = tl.split(before)
    g4, g5, g6, g7, g8, g9, g10, g11 = _eight(gradient, n)
    g12, g13 = tl.split(after)
    a0, a1, a2, a3, a4, a5, a6, a7 = x0 * x0, x1 * x1, x2 * x2, x3 * x3, x4 * x4, x5 * x5, x6 * x6, x7 * x7
    a8, a9, a10, a11, a12, a13, a14, a15 = x8 * x8, x9 * x9, x10 * x10, x11 * x11, x12 * x12, x13 * x13, x14 * x14, x15 * x15
    t2, _ = _both(x2, g2, k + ratio * (a0 + a1 + a2 + a3 + a4))
    t3, _ = _both(x3, g3, k + ratio * (a1 + a2 + a3 + a4 + a5))
    t4, p4 = _both(x4, g4, k + ratio * (a2 + a3 + a4 + a5 + a6))
    t5, p5 = _both(x5, g5, k + ratio * (a3 + a4 + a5 + a6 + a7))
    t6, p6 = _both(x6, g6, k + ratio * (a4 + a5 + a6 + a7 + a8))
    t7, p7 = _both(x7, g7, k + ratio * (a5 + a6 + a7 + a8 + a9))
    t8, p8 = _both(x8, g8, k + ratio * (a6 + a7 + a8 + a9 + a10))
    t9, p9 = _both(x9, g9, k + ratio * (a7 + a8 + a9 + a10 + a11))
    t10, p10 = _both(x10, g10, k + ratio * (a8 + a9 + a10 + a11 + a12))
    t11, p11 = _both(x11, g11, k + ratio * (a9 + a10 + a11 + a12 + a13))
    t12, _ = _both(x12, g12, k + ratio * (a10 + a11 + a12 + a13 + a14))
    t13, _ = _both(x13, g13, k + ratio * (a11 + a12 + a13 + a14 + a15))
    out = _as_one(
        p4 - factor * x4 * (t2 + t3 + t4 + t5 + t6),
        p5 - factor * x5 * (t3 + t4 + t5 + t6 + t7),
        p6 - factor * x6 * (t4 + t5 + t6 + t7 + t8),
        p7 - factor * x7 * (t5 + t6 + t7 + t8 + t9),
        p8 - factor * x8 * (t6 + t7 + t8 + t9 + t10),
        p9 - factor * x9 * (t7 + t8 + t9 + t10 + t11),
        p10 - factor * x10 * (t8 + t9 + t10 + t11 + t12),
        p11 - factor * x11 * (t9 + t10 + t11 + t12 + t13),
        n,
    )
    if rectifies:
        out = tl.where(x <= 0.0, 0.0, out)
    return out


@triton.jit
def lrn_forward(x_pointer, out_pointer, groups, groups_of_column, ratio, k, rectifies: tl.constexpr, n: tl.constexpr):
    """Normalise `n` groups of eight channels; `groups_of_column` groups are one pixel's channels in one column."""
    first, exists, below, above = _groups(groups, groups_of_column, n)
    out = normalised(x_pointer + first, exists, below, above, ratio, k, rectifies, n)
    offsets = first[:, None] + tl.arange(0, 8)[None, :]
    tl.store(out_pointer + offsets, out.to(out_pointer.dtype.element_ty), mask=exists[:, None])


@triton.jit
def lrn_backward(
    gradient_pointer, x_pointer, out_pointer, groups, groups_of_column, ratio, k, factor, rectifies: tl.constexpr, n: tl.constexpr
):
    """The gradient of `n` groups of eight channels of `lrn_forward`'s input; `factor` is 2 * alpha * beta / window."""
    first, exists, below, above = _groups(groups, groups_of_column, n)
    two, eight = tl.arange(0, 2)[None, :], tl.arange(0, 8)[None, :]
    given = gradient_pointer + first
    before, after = _read(given[:, None] - 2 + two, below[:, None], False), _read(given[:, None] + 8 + two, above[:, None], False)
    gradient = _read(given[:, None] + eight, exists[:, None], False)
    out = gradient_through(x_pointer + first, before, gradient, after, exists, below, above, ratio, k, factor, rectifies, n)
    tl.store(out_pointer + first[:, None] + eight, out.to(out_pointer.dtype.element_ty), mask=exists[:, None])


def can_take(channels: int, columns: int) -> bool:
    """Whether the kernels take so many `channels`: each of the `columns` has a multiple of 8."""
    return channels // columns % 8 == 0


def forward(x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """Normalise `x` (n, channels, h, w), fp32 or bf16, over windows of 5 channels of one column, with beta 0.75.

    With `rectifies` a ReLU is applied first, in the same pass. `x` is channels-last, with a multiple of 8 channels in each
    column, and so is the result, of the same dtype.
    """
    out = torch.empty_like(x)
    _launch(lrn_forward, [x, out], columns, rectifies, alpha / 5, k)
    return out


def backward(gradient: Tensor, x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """The gradient of `forward`'s `x`, channels-last like it; `gradient` (n, channels, h, w) is that of its result, channels-last too."""
    out = torch.empty_like(x)
    _launch(lrn_backward, [gradient, x, out], columns, rectifies, alpha / 5, k, 2 * alpha * 0.75 / 5)
    return out


def _launch(kernel: triton.JITFunction, tensors: list[Tensor], columns: int, rectifies: bool, *numbers: float) -> None:
    channels, groups = tensors[0].shape[1], tensors[0].numel() // 8
    if groups:
        kernel[(triton.cdiv(groups, THREADS),)](*tensors, groups, channels // columns // 8, *numbers, rectifies=rectifies, n=THREADS)
