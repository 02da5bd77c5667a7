"""What follows a convolution and its ReLU on a GPU, in one pass over memory each way, compiled by Triton.

Forward, local response normalisation and overlapping max-pooling. Backward, both of these, the ReLU and the sums that are the gradient
of the convolution's bias. Tensors are channels-last, or slices of the channels of such tensors. As in `lrn_triton`, a thread holds
eight neighbouring channels; it walks along some rows of one column of windows.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from distalex.kernels.lrn_triton import gradient_through, normalised

THREADS = 128  # of a program (block)
STRIP = 7  # rows of windows that a thread walks along


class Norm(NamedTuple):
    """Constants of local response normalisation over windows of 5 channels, with beta 0.75."""

    alpha: float
    """As PyTorch counts it."""
    k: float


@triton.jit
def _place(places, groups, columns, strips, n: tl.constexpr):
    """Of this program's `n` threads: image, strip of rows, column and group of eight channels, their number, and whether it exists."""
    number = tl.program_id(0) * n + tl.arange(0, n)
    column = number // groups
    strip = column // columns
    return (strip // strips).to(tl.int64), strip % strips, column % columns, number % groups, number, number < places


@triton.jit
def _largest_of_three(
    pixel, y_row, exists, below, above, ratio, k, normalises: tl.constexpr, n: tl.constexpr,
):  # fmt: skip
    """The largest value of the pixel at `pixel` (n,) and the two to its right, and which it is: (n, 8) each."""
    eight = tl.arange(0, 8)[None, :]
    largest = tl.full((n, 8), float("-inf"), tl.float32)
    where = tl.full((n, 8), 0, tl.int32)
    for right in tl.static_range(3):
        if normalises:
            value = normalised(pixel + right * y_row, exists, below, above, ratio, k, False, n)
        else:
            value = tl.load((pixel + right * y_row)[:, None] + eight, mask=exists[:, None], other=0.0).to(tl.float32)
        larger = (value > largest) | (value != value)  # the first of equal ones, and NaN before all others, as in PyTorch
        largest, where = tl.where(larger, value, largest), tl.where(larger, right, where)
    return largest, where


@triton.jit
def pool_forward(
    y_pointer, out_pointer, where_pointer, places, groups, y_row, out_row, height, width, out_height, out_width, strips, ratio, k,
    normalises: tl.constexpr, strip_rows: tl.constexpr, n: tl.constexpr,
):  # fmt: skip
    """Normalise, and write the maximum of each 3x3 window, and its position in the window (row * 3 + column) as uint8."""
    image, strip, column, group, _, exists = _place(places, groups, out_width, strips, n)
    below, above = exists & (group > 0), exists & (group < groups - 1)
    first, eight = strip * strip_rows, tl.arange(0, 8)[None, :]
    pixel = y_pointer + (image * height * width + first * 2 * width + column * 2) * y_row + group * 8
    out = out_pointer + ((image * out_height + first) * out_width + column) * out_row + group * 8
    kept = where_pointer + ((image * out_height + first) * out_width + column) * groups * 8 + group * 8
    top, top_where = _largest_of_three(pixel, y_row, exists, below, above, ratio, k, normalises, n)
    for row in range(strip_rows):
        live = exists & (first + row < out_height)
        pixel += width * y_row
        middle, where = _largest_of_three(pixel, y_row, live, live & below, live & above, ratio, k, normalises, n)
        larger = (middle > top) | (middle != middle)
        largest, largest_where = tl.where(larger, middle, top), tl.where(larger, where + 3, top_where)
        pixel += width * y_row
        top, top_where = _largest_of_three(pixel, y_row, live, live & below, live & above, ratio, k, normalises, n)
        larger = (top > largest) | (top != top)
        largest, largest_where = tl.where(larger, top, largest), tl.where(larger, top_where + 6, largest_where)
        tl.store(out[:, None] + eight, largest.to(out_pointer.dtype.element_ty), mask=live[:, None])
        tl.store(kept[:, None] + eight, largest_where.to(tl.uint8), mask=live[:, None])
        out += out_width * out_row
        kept += out_width * groups * 8


@triton.jit
def _window(gradient_pointer, kept_pointer, image, y, x, group, live, below, above, groups, gradient_row, height, width):
    """A window's gradient and the positions of its maxima: of two channels before, (n, 2) each, its eight, (n, 8), and two after."""
    two, eight = tl.arange(0, 2)[None, :], tl.arange(0, 8)[None, :]
    inside = live & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    window = (image * height + y) * width + x
    gradient = (gradient_pointer + window * gradient_row + group * 8)[:, None]
    kept = (kept_pointer + (window * groups + group) * 8)[:, None]
    own, before, after = inside[:, None], (inside & below)[:, None], (inside & above)[:, None]
    return (
        tl.load(gradient - 2 + two, mask=before, other=0.0), tl.load(kept - 2 + two, mask=before, other=255),
        tl.load(gradient + eight, mask=own, other=0.0), tl.load(kept + eight, mask=own, other=255),
        tl.load(gradient + 8 + two, mask=after, other=0.0), tl.load(kept + 8 + two, mask=after, other=255),
    )  # fmt: skip


@triton.jit
def _at(gradient, kept, place: tl.constexpr):
    """The part of windows' gradients that belongs to their pixel `place`."""
    return tl.where(kept == place, gradient.to(tl.float32), 0.0)


@triton.jit
def _of_windows(a, ka, b, kb, c, kc, d, kd, down: tl.constexpr, right: tl.constexpr):
    """The gradient of pixel (`down`, `right`) of a 2x2 block: of its own window `a`, `b` to the left, `c` above, `d` above to the left."""
    total = _at(a, ka, down * 3 + right)
    if right == 0:
        total += _at(b, kb, down * 3 + 2)
    if down == 0:
        total += _at(c, kc, 6 + right)
    if down == 0 and right == 0:
        total += _at(d, kd, 8)
    return total


@triton.jit
def backward_pass(
    gradient_pointer, kept_pointer, y_pointer, out_pointer, sums_pointer, places, groups, gradient_row, y_row, out_row,
    height, width, out_height, out_width, strips, ratio, k, factor,
    normalises: tl.constexpr, pools: tl.constexpr, strip_rows: tl.constexpr, n: tl.constexpr,
):  # fmt: skip
    """The gradient before the ReLU, and for each thread its sum over the thread's pixels, which are blocks of 2x2."""
    image, strip, column, group, number, exists = _place(places, groups, (width + 1) // 2, strips, n)
    below, above = exists & (group > 0), exists & (group < groups - 1)
    two, eight = tl.arange(0, 2)[None, :], tl.arange(0, 8)[None, :]
    total = tl.zeros((n, 8), tl.float32)
    for step in range(strip_rows):
        row = strip * strip_rows + step
        if pools:
            a0, ka0, a1, ka1, a2, ka2 = _window(
                gradient_pointer, kept_pointer, image, row, column, group,
                exists, below, above, groups, gradient_row, out_height, out_width,
            )  # fmt: skip
            b0, kb0, b1, kb1, b2, kb2 = _window(
                gradient_pointer, kept_pointer, image, row, column - 1, group,
                exists, below, above, groups, gradient_row, out_height, out_width,
            )  # fmt: skip
            c0, kc0, c1, kc1, c2, kc2 = _window(
                gradient_pointer, kept_pointer, image, row - 1, column, group,
                exists, below, above, groups, gradient_row, out_height, out_width,
            )  # fmt: skip
            d0, kd0, d1, kd1, d2, kd2 = _window(
                gradient_pointer, kept_pointer, image, row - 1, column - 1, group,
                exists, below, above, groups, gradient_row, out_height, out_width,
            )  # fmt: skip
        for place in tl.static_range(4):
            y, x = row * 2 + place // 2, column * 2 + place % 2
            live = exists & (y < height) & (x < width)
            number_of_pixel = (image * height + y) * width + x
            pixel = y_pointer + number_of_pixel * y_row + group * 8
            if pools:
                before = _of_windows(a0, ka0, b0, kb0, c0, kc0, d0, kd0, place // 2, place % 2)
                own = _of_windows(a1, ka1, b1, kb1, c1, kc1, d1, kd1, place // 2, place % 2)
                after = _of_windows(a2, ka2, b2, kb2, c2, kc2, d2, kd2, place // 2, place % 2)
            else:
                given = (gradient_pointer + number_of_pixel * gradient_row + group * 8)[:, None]
                before = tl.load(given - 2 + two, mask=(live & below)[:, None], other=0.0).to(tl.float32)
                own = tl.load(given + eight, mask=live[:, None], other=0.0).to(tl.float32)
                after = tl.load(given + 8 + two, mask=(live & above)[:, None], other=0.0).to(tl.float32)
            if normalises:
                own = gradient_through(pixel, before, own, after, live, live & below, live & above, ratio, k, factor, False, n)
            own = tl.where(tl.load(pixel[:, None] + eight, mask=live[:, None], other=0.0) <= 0.0, 0.0, own)
            out = (out_pointer + number_of_pixel * out_row + group * 8)[:, None] + eight
            tl.store(out, own.to(out_pointer.dtype.element_ty), mask=live[:, None])
            total += own
    tl.store((sums_pointer + number.to(tl.int64) * 8)[:, None] + eight, total, mask=exists[:, None])


def can_take(channels: int) -> bool:
    """Whether the kernels take so many channels of one column."""
    return channels % 8 == 0


def pooled_side(side: int) -> int:
    """Pixels after the pooling of `side` pixels: windows of 3, two pixels apart."""
    return (side - 3) // 2 + 1


def _row(x: Tensor) -> int:
    """Numbers from one pixel of `x` to the next in memory; the stride of a dimension of size 1 says nothing."""
    _, _, height, width = x.shape
    return x.stride(3) if width > 1 else x.stride(2) if height > 1 else x.stride(0)


def forward(y: Tensor, out: Tensor, norm: Norm | None) -> Tensor:
    """Write the 3x3 max-pooling of `y`, normalised first where `norm` is given, into `out`. Returns the maxima's positions.

    `y` (n, channels, h, w), fp32 or bf16, and `out` (n, channels, `pooled_side(h)`, `pooled_side(w)`) are one column's channels of
    channels-last tensors, a multiple of 8. The positions (row * 3 + column) are uint8, in the shape of `out`, for `backward`.
    """
    count, channels, height, width = y.shape
    out_height, out_width = out.shape[2:]
    kept = torch.empty(out.shape, dtype=torch.uint8, device=y.device, memory_format=torch.channels_last)
    groups, strips = channels // 8, triton.cdiv(out_height, STRIP)
    places = count * strips * out_width * groups
    if places:
        pool_forward[(triton.cdiv(places, THREADS),)](
            y, out, kept, places, groups, _row(y), _row(out), height, width, out_height, out_width, strips,
            *((norm.alpha / 5, norm.k) if norm else (0.0, 1.0)),
            normalises=norm is not None, strip_rows=STRIP, n=THREADS,
        )  # fmt: skip
    return kept


def backward(gradient: Tensor, kept: Tensor | None, y: Tensor, out: Tensor, norm: Norm | None) -> Tensor:
    """Write the gradient before the ReLU into `out`. Returns its sum over images and pixels, (channels,) fp32.

    `gradient` is that of `forward`'s result and `kept` are its positions; without them, as where no pooling follows, it is that of `y`.
    `y` (n, channels, h, w) is the ReLU's result. All are one column's channels of channels-last tensors.
    """
    count, channels, height, width = y.shape
    out_height, out_width = gradient.shape[2:]
    groups, strips, columns = channels // 8, triton.cdiv(triton.cdiv(height, 2), STRIP), triton.cdiv(width, 2)
    places = count * strips * columns * groups
    sums = torch.empty((count * strips * columns, channels), dtype=torch.float32, device=y.device)
    if places:
        backward_pass[(triton.cdiv(places, THREADS),)](
            gradient, gradient if kept is None else kept, y, out, sums, places, groups, _row(gradient), _row(y), _row(out),
            height, width, out_height, out_width, strips,
            *((norm.alpha / 5, norm.k, 2 * norm.alpha * 0.75 / 5) if norm else (0.0, 1.0, 0.0)),
            normalises=norm is not None, pools=kept is not None, strip_rows=STRIP, n=THREADS,
        )  # fmt: skip
    return sums.sum(0)
