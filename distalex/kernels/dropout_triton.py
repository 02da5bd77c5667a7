"""Keyed dropout masks on a GPU, the bits of `random.torch_grid` drawn in one pass, compiled by Triton."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from distalex.random import MULTIPLIERS

NUMBERS = 1024  # of the mask, in a program (block)
FIRST, SECOND = (tl.constexpr(multiplier) for multiplier in MULTIPLIERS)


@triton.jit
def _mix(words):
    words = (words ^ (words >> 16)) * FIRST
    words = (words ^ (words >> 15)) * SECOND
    return words ^ (words >> 16)


@triton.jit
def write_mask(draw, out, numbers, units, first_unit, below, kept, size: tl.constexpr, block: tl.constexpr):
    """Write `kept` where the unit's `size` bits, as a signed number, are at least `below`, else 0."""
    number = tl.program_id(0) * block + tl.arange(0, block)
    low, high = tl.load(draw).to(tl.uint32, bitcast=True), tl.load(draw + 1).to(tl.uint32, bitcast=True)
    row = (number // units + tl.load(draw + 2)).to(tl.uint32, bitcast=True)
    unit = first_unit + number % units
    word = (unit // (32 // size)).to(tl.uint32, bitcast=True)
    bits = _mix(_mix(_mix(row ^ low) ^ high) ^ _mix(_mix(word ^ high) ^ low))
    high_end = (bits << ((32 // size - 1 - unit % (32 // size)) * size).to(tl.uint32, bitcast=True)).to(tl.int32, bitcast=True)
    value = tl.where(high_end >> (32 - size) >= below, kept, 0.0)
    tl.store(out + number, value.to(out.dtype.element_ty), mask=number < numbers)


def keyed_mask(draw: Tensor, images: int, units: int, first_unit: int, size: int, below: int, kept: float, dtype: torch.dtype) -> Tensor:
    """Return a dropout mask (images, units) of `dtype`: `kept` where the random bits of a unit, as a signed number, are at least `below`.

    Args:
        draw: int32 on the GPU: the key's two words, and the number of the first image.
        images: number of images.
        units: number of units.
        first_unit: number of the first unit.
        size: random bits of each unit, 8 or 16.
        below: smallest number that is kept.
        kept: value of the mask there.
        dtype: fp32 or bf16.
    """
    out = torch.empty((images, units), dtype=dtype, device=draw.device)
    if out.numel():
        grid = (triton.cdiv(out.numel(), NUMBERS),)
        write_mask[grid](draw, out, out.numel(), units, first_unit, below, kept, size=size, block=NUMBERS)
    return out
