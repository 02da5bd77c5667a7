"""Windows of stored pictures cut, mirrored and normalised on a CPU in one pass over memory, compiled by Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from distalex.compiled import as_array, share_out, store_row


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _normalise(images: Any, top: Any, left: Any, mirrored: Any, shift: Any, out: Any, scale: Any) -> None:
    count, height, width = images.shape[0], images.shape[1], images.shape[2] // 3
    side = out.shape[1]
    shifts, scales = np.empty(3 * side, np.float32), np.empty(3 * side, np.float32)
    row = np.empty(3 * side, np.float32)
    bits = row.view(np.int32)
    for number in range(count):
        for x in range(side):
            for colour in range(3):
                shifts[3 * x + colour] = shift[number, colour]
                scales[3 * x + colour] = scale[colour]
        first, last = max(0, -left[number]), min(side, width - left[number])  # outside of the picture it is black
        flipped, start = mirrored[number], 3 * left[number]
        for y in range(side):
            line = top[number] + y
            if line < 0 or line >= height:
                for x in range(3 * side):
                    row[x] = -shifts[x] * scales[x]
            elif flipped:
                for x in range(side):
                    for colour in range(3):
                        inside = first <= side - 1 - x < last
                        value = images[number, line, start + 3 * (side - 1 - x) + colour] if inside else np.uint8(0)
                        row[3 * x + colour] = (np.float32(value) - shifts[3 * x + colour]) * scales[3 * x + colour]
            else:
                for x in range(3 * first):
                    row[x] = -shifts[x] * scales[x]
                pixels = images[number, line, start + 3 * first : start + 3 * last]
                for x in range(len(pixels)):
                    row[3 * first + x] = (np.float32(pixels[x]) - shifts[3 * first + x]) * scales[3 * first + x]
                for x in range(3 * last, 3 * side):
                    row[x] = -shifts[x] * scales[x]
            store_row(out[number, y], row, bits)


def normalised_windows(
    images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, side: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """(window - shift) * scale of one square of each picture (n, height, width, 3), as (n, side, side, 3) of `dtype`.

    `top` and `left` (n,) may lie outside of the picture, where it is black; `shift` is (n, 3), `scale` (3,).
    """
    count, height, width, _ = images.shape
    out = torch.empty((count, side, side, 3), dtype=dtype)
    rows = images.contiguous().view(count, height, width * 3).numpy()
    arrays = [rows, top, left, mirrored, shift.numpy(), as_array(out.view(count, side, side * 3))]
    share_out(_normalise, arrays, scale.numpy())
    return out
