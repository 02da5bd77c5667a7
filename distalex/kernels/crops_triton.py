"""Crops of stored images on a GPU, compiled by Triton: cut, mirrored and normalised in one pass over memory."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from distalex.kernels.crops import resized_crops

__all__ = ["normalised_crops", "resized_crops"]
NUMBERS = 1024  # of a crop, in a block


@triton.jit
def cut_crops(
    images, places, shift, scale, out, count, height, width, side: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Write `block` numbers of one crop; `places` (3, count) int32: top, left and whether it is mirrored."""
    blocks = tl.cdiv(side * side * 3, block)
    image = tl.program_id(0) // blocks
    number = tl.program_id(0) % blocks * block + tl.arange(0, block)
    row, along = number // (side * 3), number % (side * 3)
    column, colour = along // 3, along % 3
    top, left = tl.load(places + image), tl.load(places + count + image)
    mirrored = tl.load(places + 2 * count + image)
    row += top
    column = left + tl.where(mirrored > 0, side - 1 - column, column)
    wanted = number < side * side * 3
    inside = wanted & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixel = images + image.to(tl.int64) * height * width * 3 + (row * width + column) * 3 + colour
    value = tl.load(pixel, mask=inside, other=0).to(tl.float32)
    value -= tl.load(shift + image * 3 + colour, mask=wanted, other=0.0)
    value *= tl.load(scale + colour, mask=wanted, other=0.0)
    tl.store(out + image.to(tl.int64) * side * side * 3 + number, value.to(out.dtype.element_ty), mask=wanted)


def normalised_crops(
    images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, side: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """`crops.normalised_crops` on a GPU; same arguments and result, of fp32 or bf16."""
    count, height, width, _ = images.shape
    out = torch.empty((count, side, side, 3), dtype=dtype, device=images.device)
    if count:
        places = torch.from_numpy(np.stack([top, left, mirrored]).astype(np.int32)).to(images.device, non_blocking=True)
        grid = (count * triton.cdiv(side * side * 3, NUMBERS),)  # one axis, as a GPU's others take 65,535 at most
        cut_crops[grid](images.contiguous(), places, shift.contiguous(), scale, out, count, height, width, side=side, block=NUMBERS)
    return out
