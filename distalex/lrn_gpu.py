"""The paper's local response normalisation for a GPU: one pass over memory each way, compiled by Triton.

A window's sum is a product with a band of ones, which the matrix units do while memory is waited for: the squares in bf16 terms
that add up to more digits than the result has. The backward pass computes them again instead of keeping them.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS = 64  # of a block, which has all channels of a column
WIDEST = 128  # channels of a column, for which the band still fits beside them


@triton.jit
def _block(  # type: ignore[no-untyped-def]
    pixels, image_stride, pixel_stride, channel_stride, width: tl.constexpr, block_p: tl.constexpr, block_c: tl.constexpr
):
    """Offsets (block_p, block_c) of this program's pixels of one column of one image, and which of them there are."""
    pixel = tl.program_id(0).to(tl.int64) * block_p + tl.arange(0, block_p)[:, None]
    channel = tl.arange(0, block_c)[None, :]
    first = tl.program_id(2).to(tl.int64) * image_stride + tl.program_id(1) * width * channel_stride
    return first + pixel * pixel_stride + channel * channel_stride, (pixel < pixels) & (channel < width)


@triton.jit
def _load(pointer, offsets, inside, rectifies: tl.constexpr):  # type: ignore[no-untyped-def]
    x = tl.load(pointer + offsets, mask=inside, other=0.0).to(tl.float32)
    if rectifies:
        x = tl.where(x <= 0.0, 0.0, x)  # which keeps a NaN
    return x


@triton.jit
def _window_sums(values, terms: tl.constexpr, block_c: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of each channel and two on each side, of (block_p, block_c); beyond the column there are zeros."""
    here, there = tl.arange(0, block_c)[:, None], tl.arange(0, block_c)[None, :]
    band = tl.where((here - there <= 2) & (there - here <= 2), 1.0, 0.0).to(tl.bfloat16)
    term = values.to(tl.bfloat16)
    sums = tl.dot(term, band)
    for _ in tl.static_range(terms - 1):
        values -= term.to(tl.float32)
        term = values.to(tl.bfloat16)
        sums = tl.dot(term, band, sums)
    return sums


@triton.jit
def _power(scale):  # type: ignore[no-untyped-def]
    """scale ** -0.75."""
    root = tl.math.rsqrt(scale)
    return root * tl.sqrt(root)


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    x_pointer, out_pointer, pixels, image_stride, pixel_stride, channel_stride, ratio, k,
    width: tl.constexpr, rectifies: tl.constexpr, terms: tl.constexpr, block_p: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    offsets, inside = _block(pixels, image_stride, pixel_stride, channel_stride, width, block_p, block_c)
    x = _load(x_pointer, offsets, inside, rectifies)
    out = x * _power(k + ratio * _window_sums(x * x, terms, block_c))
    tl.store(out_pointer + offsets, out.to(out_pointer.dtype.element_ty), mask=inside)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    gradient_pointer, x_pointer, out_pointer, pixels, image_stride, pixel_stride, channel_stride, ratio, k, factor,
    width: tl.constexpr, rectifies: tl.constexpr, terms: tl.constexpr, block_p: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    offsets, inside = _block(pixels, image_stride, pixel_stride, channel_stride, width, block_p, block_c)
    x = _load(x_pointer, offsets, inside, rectifies)
    scale = k + ratio * _window_sums(x * x, terms, block_c)
    passed = _load(gradient_pointer, offsets, inside, False) * _power(scale)
    out = passed - factor * x * _window_sums(passed * x / scale, terms, block_c)
    if rectifies:
        out = tl.where(x <= 0.0, 0.0, out)
    tl.store(out_pointer + offsets, out.to(out_pointer.dtype.element_ty), mask=inside)


def has_room(width: int) -> bool:
    """Whether a column of so many channels fits into a block."""
    return width <= WIDEST


def _launch(kernel: Any, like: Tensor, tensors: list[Tensor], columns: int, rectifies: bool, *numbers: float) -> None:
    """`kernel` over all pixels and columns of `tensors`, which lie in memory as `like`, (n, channels, h, w) in either format."""
    count, channels, height, width = like.shape
    if like.is_contiguous(memory_format=torch.channels_last):  # all pixels of all images in one row
        pixels, images, strides = count * height * width, 1, (0, channels, 1)
    else:
        pixels, images, strides = height * width, count, (channels * height * width, 1, height * width)
    if pixels and images:
        options = {
            "width": channels // columns,
            "rectifies": rectifies,
            "terms": 2 if like.dtype == torch.bfloat16 else 3,
            "block_p": PIXELS,
            "block_c": max(16, triton.next_power_of_2(channels // columns)),
        }
        kernel[triton.cdiv(pixels, PIXELS), columns, images](*tensors, pixels, *strides, *numbers, **options)


def as_laid(x: Tensor) -> Tensor:
    """`x` in the one of the two memory formats that it has, or channels-last."""
    return x if x.is_contiguous() else x.contiguous(memory_format=torch.channels_last)


def forward(x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """Normalise `x`, fp32 or bf16 in either memory format, over windows of 5 channels of one column, with beta 0.75.

    With `rectifies` a ReLU goes before, in the same pass.
    """
    out = torch.empty_like(x)
    _launch(_forward, x, [x, out], columns, rectifies, alpha / 5, k)
    return out


def backward(gradient: Tensor, x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """The gradient of `forward`'s `x`, laid in memory as that is."""
    out = torch.empty_like(x)
    gradient = gradient.contiguous(memory_format=torch.contiguous_format if x.is_contiguous() else torch.channels_last)
    _launch(_backward, x, [gradient, x, out], columns, rectifies, alpha / 5, k, 2 * alpha * 0.75 / 5)
    return out
