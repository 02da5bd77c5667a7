"""The paper's local response normalisation for a CPU: one pass over memory each way, compiled by Numba.

Everything of a tile happens in the near caches: one pixel's channels where channels lie side by side in memory
(channels-last), those of `TILE` pixels where pixels do. A tile is one row of numbers in which the next channel is as many
places further as the tile has pixels, so that the same kernels do both.

s ** -0.75 is a first guess from the bits of s, within 5 %, and three Newton steps of y -> y (1.25 - 0.25 s^3 y^4), which
leave less than fp32 can tell apart; they take a fraction of the time of two square roots and a division. Threads share
the pictures or pixels out, so their number changes no result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from distalex.compiled import as_array, load_row, share_out, store_row

REACH = 2  # channels on each side of a window of 5
TILE = 64  # pixels, where these lie side by side
_GUESS = np.int32(0x6F14B800)  # found by trying: the least error after two steps, over four octaves


@njit(inline="always")
def _windows(values: Any, step: int) -> Any:
    """`values` as seen from each channel of a window of five."""
    return values, values[step:], values[2 * step :], values[3 * step :], values[4 * step :]


@njit(inline="always")
def _sum(windows: Any, place: int) -> Any:
    first, second, third, fourth, fifth = windows
    return first[place] + second[place] + third[place] + fourth[place] + fifth[place]


@njit(inline="always")
def _newton(scale: Any, power: Any) -> Any:
    root = scale * power
    return power * (np.float32(1.25) - np.float32(0.25) * root * root * root * power)


@njit(inline="always")
def _load(row: Any, start: int, pixels: int, step: int, values: Any, bits: Any) -> None:
    """A tile: of a row with `pixels` numbers for each channel, `step` of every channel from `start` on."""
    if step == pixels:
        load_row(row, values, bits)
        return
    for channel in range(len(row) // pixels):
        first, place = channel * pixels + start, slice(channel * step, (channel + 1) * step)
        load_row(row[first : first + step], values[place], bits[place])


@njit(inline="always")
def _store(row: Any, start: int, pixels: int, step: int, values: Any, bits: Any) -> None:
    if step == pixels:
        store_row(row, values, bits)
        return
    for channel in range(len(row) // pixels):
        first, place = channel * pixels + start, slice(channel * step, (channel + 1) * step)
        store_row(row[first : first + step], values[place], bits[place])


@njit(inline="always")
def _scale_and_guess(value: Any, squares: Any, scale: Any, scale_bits: Any, power_bits: Any, ratio: Any, k: Any, floor: Any) -> None:
    """From a tile's values, those below `floor` raised to it: their scale s, and the first guess of s ** -0.75."""
    own = squares[REACH]
    for c in range(len(value)):
        value[c] = floor if value[c] <= floor else value[c]  # which keeps a NaN
        own[c] = value[c] * value[c]
    for c in range(len(value)):
        scale[c] = k + ratio * _sum(squares, c)
    for c in range(len(value)):
        power_bits[c] = _GUESS - (scale_bits[c] >> 2) * np.int32(3)


_FAST = {"contract", "reassoc", "arcp", "nsz"}  # all but what would let NaN and infinity vanish


@njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
def _forward(x: Any, out: Any, pixels: int, ratio: Any, k: Any, floor: Any) -> None:
    step = min(pixels, TILE)
    size = x.shape[1] // pixels * step
    value, scale, power = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    value_bits, scale_bits, power_bits = value.view(np.int32), scale.view(np.int32), power.view(np.int32)
    squares = _windows(np.zeros(size + 2 * REACH * step, np.float32), step)
    for row in range(len(x)):
        for tile in range(0, pixels, step):
            start = min(tile, pixels - step)  # the last tile reaches back into the one before
            _load(x[row], start, pixels, step, value, value_bits)
            _scale_and_guess(value, squares, scale, scale_bits, power_bits, ratio, k, floor)
            for c in range(size):
                power[c] = value[c] * _newton(scale[c], _newton(scale[c], _newton(scale[c], power[c])))
            _store(out[row], start, pixels, step, power, power_bits)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
def _backward(gradient: Any, x: Any, out: Any, pixels: int, ratio: Any, k: Any, factor: Any, floor: Any) -> None:
    step = min(pixels, TILE)
    size = x.shape[1] // pixels * step
    value, scale, power = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    value_bits, scale_bits, power_bits = value.view(np.int32), scale.view(np.int32), power.view(np.int32)
    given = np.zeros(size, np.float32)
    given_bits = given.view(np.int32)
    squares = _windows(np.zeros(size + 2 * REACH * step, np.float32), step)
    throughs = _windows(np.zeros(size + 2 * REACH * step, np.float32), step)
    through = throughs[REACH]
    for row in range(len(x)):
        for tile in range(0, pixels, step):
            start = min(tile, pixels - step)
            _load(x[row], start, pixels, step, value, value_bits)
            _load(gradient[row], start, pixels, step, given, given_bits)
            _scale_and_guess(value, squares, scale, scale_bits, power_bits, ratio, k, floor)
            for c in range(size):
                s = scale[c]
                p = _newton(s, _newton(s, _newton(s, power[c])))
                power[c] = p
                root = s * p  # s ** 0.25, and p / s is p^5 s^2 = root^2 p^3
                through[c] = given[c] * value[c] * p * (root * root) * (p * p)
            for c in range(size):
                passed = given[c] * power[c] - factor * value[c] * _sum(throughs, c)
                given[c] = np.float32(0.0) if value[c] <= floor else passed
            _store(out[row], start, pixels, step, given, given_bits)


def _layout(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _rows(x: Tensor, columns: int) -> tuple[np.ndarray, int]:
    """Without a copy: a row for each column of channels, of every picture or, channels-last, pixel; and a channel's numbers in it."""
    channels, height, width = x.shape[1:]
    pixels = height * width if x.is_contiguous() else 1
    ordered = x if x.is_contiguous() else x.permute(0, 2, 3, 1)
    return as_array(ordered.reshape(-1, channels // columns * pixels)), pixels


def as_laid(x: Tensor, columns: int) -> Tensor:
    """`x` in an order that `forward` takes: contiguous or channels-last."""
    return x if x.is_contiguous() else x.contiguous(memory_format=torch.channels_last)


def forward(x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """Normalise `x` (n, channels, h, w), fp32 or bf16, over windows of 5 channels of one column, with beta 0.75.

    With `rectifies` a ReLU goes before, in the same pass.
    """
    out = torch.empty_like(x)
    rows, pixels = _rows(x, columns)
    share_out(_forward, [rows, _rows(out, columns)[0]], pixels, np.float32(alpha / 5), np.float32(k), _floor(rectifies))
    return out


def backward(gradient: Tensor, x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """The gradient of `forward`'s `x`."""
    out = torch.empty_like(x)
    rows, pixels = _rows(x, columns)
    arrays = [_rows(gradient.contiguous(memory_format=_layout(x)), columns)[0], rows, _rows(out, columns)[0]]
    factor = np.float32(2 * alpha * 0.75 / 5)
    share_out(_backward, arrays, pixels, np.float32(alpha / 5), np.float32(k), factor, _floor(rectifies))
    return out


def _floor(rectifies: bool) -> np.float32:
    return np.float32(0.0) if rectifies else np.float32(-3.4e38)
