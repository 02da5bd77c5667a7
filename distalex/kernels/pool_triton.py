"""Max-pooling with stride 2 on a GPU (Section 3.4), compiled by Triton.

PyTorch saves eight bytes per window for the position of the maximum, and adds atomically in its backward pass. This saves one
byte, and each input pixel reads the windows that it lies in, four at most.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS, CHANNELS = 32, 32  # of a program (block)


class Shape(NamedTuple):
    """Channels, and height and width of the input and the output, in pixels."""

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int


@triton.jit
def _place(channels, height, width, block_p: tl.constexpr, block_c: tl.constexpr):
    """This program's image, its pixels (block_p, 1) as row, column and number, its channels (1, block_c), and which of these exist."""
    blocks, parts = tl.cdiv(height * width, block_p), tl.cdiv(channels, block_c)
    pixel = (tl.program_id(0) % blocks * block_p + tl.arange(0, block_p))[:, None]
    channel = (tl.program_id(0) // blocks % parts * block_c + tl.arange(0, block_c))[None, :]
    image = (tl.program_id(0) // (blocks * parts)).to(tl.int64)
    return image, pixel // width, pixel % width, pixel, channel, (pixel < height * width) & (channel < channels)


@triton.jit
def pool_forward(
    x_pointer, out_pointer, where_pointer, channels, height, width, out_height, out_width,
    window: tl.constexpr, margin: tl.constexpr, block_p: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """Write the maximum of each window, and its position in the window (row * window + column) as uint8."""
    image, row, column, pixel, channel, exists = _place(channels, out_height, out_width, block_p, block_c)
    x_pointer += image * height * width * channels
    largest = tl.full((block_p, block_c), float("-inf"), tl.float32)
    where = tl.full((block_p, block_c), 0, tl.int32)
    for place in tl.static_range(window * window):
        y, x = row * 2 - margin + place // window, column * 2 - margin + place % window
        inside = exists & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        value = tl.load(x_pointer + (y * width + x) * channels + channel, mask=inside, other=float("-inf")).to(tl.float32)
        larger = (value > largest) | (value != value)  # the first of equal ones, and NaN before all others, as in PyTorch
        largest, where = tl.where(larger, value, largest), tl.where(larger, place, where)
    out = image * out_height * out_width * channels + pixel * channels + channel
    tl.store(out_pointer + out, largest.to(out_pointer.dtype.element_ty), mask=exists)
    tl.store(where_pointer + out, where.to(tl.uint8), mask=exists)


@triton.jit
def pool_backward(
    gradient_pointer, where_pointer, out_pointer, channels, height, width, out_height, out_width,
    window: tl.constexpr, margin: tl.constexpr, block_p: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """Sum, for each input pixel, the gradients of the windows that have their maximum there."""
    image, row, column, pixel, channel, exists = _place(channels, height, width, block_p, block_c)
    gradient_pointer += image * out_height * out_width * channels
    where_pointer += image * out_height * out_width * channels
    total = tl.zeros((block_p, block_c), tl.float32)
    for number in tl.static_range(4 if window > 2 else 1):  # the windows that this pixel lies in
        out_row, out_column = (row + margin) // 2 - number // 2, (column + margin) // 2 - number % 2
        y, x = row + margin - 2 * out_row, column + margin - 2 * out_column  # where in that window
        inside = exists & (y < window) & (x < window)
        inside &= (out_row >= 0) & (out_row < out_height) & (out_column >= 0) & (out_column < out_width)
        source = (out_row * out_width + out_column) * channels + channel
        where = tl.load(where_pointer + source, mask=inside, other=255).to(tl.int32)
        gradient = tl.load(gradient_pointer + source, mask=inside, other=0.0).to(tl.float32)
        total += tl.where(where == y * window + x, gradient, 0.0)
    out = image * height * width * channels + pixel * channels + channel
    tl.store(out_pointer + out, total.to(out_pointer.dtype.element_ty), mask=exists)


def _launch(kernel: Any, tensors: list[Tensor], shape: Shape, window: int, margin: int) -> None:
    """Run `kernel` with a program for each block of pixels and channels of the last of `tensors`."""
    count, channels, height, width = tensors[-1].shape
    if tensors[-1].numel():
        programs = count * triton.cdiv(height * width, PIXELS) * triton.cdiv(channels, CHANNELS)  # one axis: others take 65,535 at most
        kernel[(programs,)](*tensors, *shape, window=window, margin=margin, block_p=PIXELS, block_c=CHANNELS)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int, margin: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        count, channels, height, width = x.shape
        out_height, out_width = ((length + 2 * margin - window) // 2 + 1 for length in (height, width))
        out = torch.empty((count, channels, out_height, out_width), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        where = torch.empty_like(out, dtype=torch.uint8)
        ctx.shape, ctx.window, ctx.margin = Shape(channels, height, width, out_height, out_width), window, margin
        _launch(pool_forward, [x, out, where], ctx.shape, window, margin)
        ctx.save_for_backward(where)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        shape = (len(gradient), ctx.shape.channels, ctx.shape.height, ctx.shape.width)
        out = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
        _launch(pool_backward, [gradient, where, out], ctx.shape, ctx.window, ctx.margin)
        return out, None, None


def max_pool(x: Tensor, window: int, margin: int) -> Tensor:
    """`torch.nn.functional.max_pool2d(x, window, 2, margin)` of `x` (n, channels, h, w), fp32 or bf16, channels-last; window 2 or 3.

    The result is channels-last and has the dtype of `x`. Gradients flow to `x`.
    """
    return _MaxPool.apply(x, window, margin)
