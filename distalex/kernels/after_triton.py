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
def _where(gradient, kept, mask, place: tl.constexpr):
    where = tl.load(kept, mask=mask, other=255).to(tl.int32)
    return tl.where(where == place, tl.load(gradient, mask=mask, other=0.0).to(tl.float32), 0.0)


@triton.jit
def _of_window(gradient, kept, exists, below, above, place: tl.constexpr):
    """What a window's gradient is at its pixel `place`: of its eight channels (n, 8), and the two before and after these, (n, 2) each."""
    two, eight = tl.arange(0, 2)[None, :], tl.arange(0, 8)[None, :]
    before = _where(gradient[:, None] - 2 + two, kept[:, None] - 2 + two, below[:, None], place)
    own = _where(gradient[:, None] + eight, kept[:, None] + eight, exists[:, None], place)
    after = _where(gradient[:, None] + 8 + two, kept[:, None] + 8 + two, above[:, None], place)
    return before, own, after


@triton.jit
def _of_windows(
    gradient_pointer, kept_pointer, image, row, column, group, live, below, above, groups, gradient_row, out_height, out_width,
    down: tl.constexpr, right: tl.constexpr, n: tl.constexpr,
):  # fmt: skip
    """The sum of `_of_window` over all windows that pixel (`down`, `right`) of the 2x2 block at `row`, `column` lies in."""
    own = tl.zeros((n, 8), tl.float32)
    before, after = tl.zeros((n, 2), tl.float32), tl.zeros((n, 2), tl.float32)
    for up in tl.static_range(2 - down):
        for left in tl.static_range(2 - right):
            y, x = row - up, column - left
            inside = live & (y >= 0) & (y < out_height) & (x >= 0) & (x < out_width)
            window = (image * out_height + y) * out_width + x
            gradient, kept = gradient_pointer + window * gradient_row + group * 8, kept_pointer + (window * groups + group) * 8
            some_before, some, some_after = _of_window(
                gradient, kept, inside, inside & below, inside & above, (2 * up + down) * 3 + 2 * left + right
            )
            before, own, after = before + some_before, own + some, after + some_after
    return before, own, after


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
        for place in tl.static_range(4):
            y, x = row * 2 + place // 2, column * 2 + place % 2
            live = exists & (y < height) & (x < width)
            number_of_pixel = (image * height + y) * width + x
            pixel = y_pointer + number_of_pixel * y_row + group * 8
            if pools:
                before, own, after = _of_windows(
                    gradient_pointer, kept_pointer, image, row, column, group, live, below, above, groups, gradient_row,
                    out_height, out_width, place // 2, place % 2, n,
                )  # fmt: skip
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
