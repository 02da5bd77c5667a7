"""Blocks of pixels as channels on a GPU, in one pass over memory, compiled by Triton."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

NUMBERS = 1024  # of an image of the result, in a program (block)


@triton.jit
def write_blocks(
    x_pointer, out_pointer, height, width, steps, padding,
    stride: tl.constexpr, channels: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Write `block` numbers of one image of the result, (steps, steps, stride, stride, channels) in memory."""
    numbers = steps * steps * stride * stride * channels
    blocks = tl.cdiv(numbers, block)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    number = tl.program_id(0) % blocks * block + tl.arange(0, block)
    along, rest = number % (stride * channels), number // (stride * channels)
    down, rest = rest % stride, rest // stride
    y, x = rest // steps * stride + down - padding, rest % steps * stride + along // channels - padding
    inside = (number < numbers) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    source = x_pointer + image * height * width * channels + (y * width + x) * channels + along % channels
    tl.store(out_pointer + image * numbers + number, tl.load(source, mask=inside, other=0.0), mask=number < numbers)


def in_blocks(x: Tensor, steps: int, stride: int, padding: int) -> Tensor:
    """Turn blocks of stride x stride pixels into channels: (n, channels, h, w) -> (n, stride**2 * channels, steps, steps).

    The first block begins `padding` pixels before the first pixel; pixels outside of `x` are 0. The result is channels-last.
    """
    count, channels, height, width = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty((count, steps, steps, stride**2 * channels), dtype=x.dtype, device=x.device)
    if out.numel():
        programs = count * triton.cdiv(out[0].numel(), NUMBERS)
        write_blocks[(programs,)](x, out, height, width, steps, padding, stride=stride, channels=channels, block=NUMBERS)
    return out.permute(0, 3, 1, 2)
