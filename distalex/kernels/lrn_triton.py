"""The paper's local response normalisation for a GPU: one pass over memory each way, compiled by Triton.

Channels-last, a thread holds eight neighbouring channels of a pixel, so that all but the outermost windows lie within it, and
reads the few beyond besides. Contiguous, it goes through the channels of its pixel in turn. The backward pass computes the sums
of squares again instead of keeping them: memory is what it is bound by.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

THREADS = 128  # of a program


@triton.jit
def _rectified(x, rectifies: tl.constexpr):
    if rectifies:
        return tl.where(x <= 0.0, 0.0, x)  # which keeps a NaN
    else:
        return x


@triton.jit
def _read(pointer, mask, rectifies: tl.constexpr):
    """In fp32; zero where `mask` says that there is nothing."""
    return _rectified(tl.load(pointer, mask=mask, other=0.0).to(tl.float32), rectifies)


@triton.jit
def _power(scale):
    """scale ** -0.75."""
    root = tl.math.rsqrt(scale)
    return root * tl.sqrt(root)


@triton.jit
def _both(x, gradient, scale):
    """What goes through the scale to the neighbours, gradient * x * scale ** -1.75, and what goes straight, gradient * scale ** -0.75."""
    root = tl.math.rsqrt(scale)
    power = root * tl.sqrt(root)
    return gradient * x * power * root * root, gradient * power


@triton.jit
def _eight(x, n: tl.constexpr):
    """(n, 8) -> eight of (n,), which moves nothing."""
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
def _groups(groups, groups_of_column, n: tl.constexpr):
    """Of this program's `n` groups of eight channels: where each begins, and whether it, one before and one after in its column exist."""
    group = tl.program_id(0).to(tl.int64) * n + tl.arange(0, n)
    exists, place = group < groups, group % groups_of_column
    return group * 8, exists, exists & (place > 0), exists & (place < groups_of_column - 1)


@triton.jit
def lrn_forward(x_pointer, out_pointer, groups, groups_of_column, ratio, k, rectifies: tl.constexpr, n: tl.constexpr):
    first, exists, below, above = _groups(groups, groups_of_column, n)
    offsets, mask = first[:, None] + tl.arange(0, 8)[None, :], exists[:, None]
    near = x_pointer + first
    x0, x1 = _read(near - 2, below, rectifies), _read(near - 1, below, rectifies)
    x2, x3, x4, x5, x6, x7, x8, x9 = _eight(_read(x_pointer + offsets, mask, rectifies), n)
    x10, x11 = _read(near + 8, above, rectifies), _read(near + 9, above, rectifies)
    a0, a1, a2, a3, a4, a5 = x0 * x0, x1 * x1, x2 * x2, x3 * x3, x4 * x4, x5 * x5
    a6, a7, a8, a9, a10, a11 = x6 * x6, x7 * x7, x8 * x8, x9 * x9, x10 * x10, x11 * x11
    out = _as_one(
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
    tl.store(out_pointer + offsets, out.to(out_pointer.dtype.element_ty), mask=mask)


@triton.jit
def lrn_backward(
    gradient_pointer, x_pointer, out_pointer, groups, groups_of_column, ratio, k, factor, rectifies: tl.constexpr, n: tl.constexpr
):
    first, exists, below, above = _groups(groups, groups_of_column, n)
    offsets, mask = first[:, None] + tl.arange(0, 8)[None, :], exists[:, None]
    # Channel i of the eight is i + 4 here: scales are needed two further out than what is written, values two further again.
    near, given = x_pointer + first, gradient_pointer + first
    x0, x1 = _read(near - 4, below, rectifies), _read(near - 3, below, rectifies)
    x2, x3 = _read(near - 2, below, rectifies), _read(near - 1, below, rectifies)
    x = _read(x_pointer + offsets, mask, rectifies)
    x4, x5, x6, x7, x8, x9, x10, x11 = _eight(x, n)
    x12, x13 = _read(near + 8, above, rectifies), _read(near + 9, above, rectifies)
    x14, x15 = _read(near + 10, above, rectifies), _read(near + 11, above, rectifies)
    g2, g3 = _read(given - 2, below, False), _read(given - 1, below, False)
    g4, g5, g6, g7, g8, g9, g10, g11 = _eight(_read(gradient_pointer + offsets, mask, False), n)
    g12, g13 = _read(given + 8, above, False), _read(given + 9, above, False)
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
    tl.store(out_pointer + offsets, out.to(out_pointer.dtype.element_ty), mask=mask)


@triton.jit
def _pixels(pixels, width, n: tl.constexpr):
    """Where this program's `n` pixels of one column of one image begin, and which of them there are."""
    blocks = tl.cdiv(pixels, n)
    pixel = tl.program_id(0) % blocks * n + tl.arange(0, n)
    column = (tl.program_id(0) // blocks).to(tl.int64)  # of all images, one after the other
    return column * width * pixels + pixel, pixel < pixels


@triton.jit
def lrn_forward_in_turn(x_pointer, out_pointer, pixels, width, ratio, k, rectifies: tl.constexpr, n: tl.constexpr):
    first, exists = _pixels(pixels, width, n)
    here = _read(x_pointer + first, exists, rectifies)
    after1 = _read(x_pointer + first + pixels, exists & (width > 1), rectifies)
    before2, before1 = tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32)  # squares
    for channel in range(width):
        after2 = _read(x_pointer + first + (channel + 2) * pixels, exists & (channel + 2 < width), rectifies)
        square = here * here
        out = here * _power(k + ratio * (before2 + before1 + square + after1 * after1 + after2 * after2))
        tl.store(out_pointer + first + channel * pixels, out.to(out_pointer.dtype.element_ty), mask=exists)
        before2, before1, here, after1 = before1, square, after1, after2


@triton.jit
def lrn_backward_in_turn(
    gradient_pointer, x_pointer, out_pointer, pixels, width, ratio, k, factor, rectifies: tl.constexpr, n: tl.constexpr
):
    first, exists = _pixels(pixels, width, n)
    here = _read(x_pointer + first, exists, rectifies)
    after1 = _read(x_pointer + first + pixels, exists & (width > 1), rectifies)
    # Of so many channels before `here`; Triton 3.8 takes names that begin as one tensor for one.
    x1, x2, p1, p2 = tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32)
    t1, t2, t3, t4 = tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32), tl.zeros((n,), tl.float32)
    for channel in range(width + 2):  # what is written is two channels behind
        after2 = _read(x_pointer + first + (channel + 2) * pixels, exists & (channel + 2 < width), rectifies)
        given = _read(gradient_pointer + first + channel * pixels, exists & (channel < width), False)
        through, passed = _both(here, given, k + ratio * (x2 * x2 + x1 * x1 + here * here + after1 * after1 + after2 * after2))
        out = p2 - factor * x2 * (t4 + t3 + t2 + t1 + through)
        if rectifies:
            out = tl.where(x2 <= 0.0, 0.0, out)
        target = out_pointer + first + (channel - 2) * pixels
        tl.store(target, out.to(out_pointer.dtype.element_ty), mask=exists & (channel >= 2))
        x2, x1, here, after1 = x1, here, after1, after2
        t4, t3, t2, t1, p2, p1 = t3, t2, t1, through, p1, passed


def _in_groups(x: Tensor, columns: int) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and x.shape[1] // columns % 8 == 0


def as_laid(x: Tensor, columns: int) -> Tensor:
    """`x` in a memory format that the kernels take: channels-last if it is and a column's channels are a multiple of 8, else contiguous."""
    return x if _in_groups(x, columns) else x.contiguous()


def _launch(
    kernels: tuple[triton.JITFunction, triton.JITFunction], tensors: list[Tensor], columns: int, rectifies: bool, *numbers: float
) -> None:
    """The first of `kernels` in channels-last order, the second in the other, over `tensors`, which are all laid in memory as the first."""
    like = tensors[0]
    count, channels, height, width = like.shape
    if not like.numel():
        return
    if _in_groups(like, columns):
        groups = like.numel() // 8
        grid = (triton.cdiv(groups, THREADS),)
        kernels[0][grid](*tensors, groups, channels // columns // 8, *numbers, rectifies=rectifies, n=THREADS)
    else:
        grid = (triton.cdiv(height * width, THREADS) * columns * count,)  # one axis: others take 65,535 at most
        kernels[1][grid](*tensors, height * width, channels // columns, *numbers, rectifies=rectifies, n=THREADS)


def forward(x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """Normalise `x`, fp32 or bf16 and `as_laid`, over windows of 5 channels of one column, with beta 0.75.

    With `rectifies` a ReLU goes before, in the same pass.
    """
    out = torch.empty_like(x)
    _launch((lrn_forward, lrn_forward_in_turn), [x, out], columns, rectifies, alpha / 5, k)
    return out


def backward(gradient: Tensor, x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """The gradient of `forward`'s `x`, laid in memory as that is."""
    gradient = gradient.contiguous(memory_format=torch.channels_last if _in_groups(x, columns) else torch.contiguous_format)
    out = torch.empty_like(x)
    _launch((lrn_backward, lrn_backward_in_turn), [gradient, x, out], columns, rectifies, alpha / 5, k, 2 * alpha * 0.75 / 5)
    return out
