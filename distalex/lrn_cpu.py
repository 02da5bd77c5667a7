"""The paper's local response normalisation for a CPU: one pass over memory each way, compiled by Numba.

Everything of a pixel's channels happens in the first-level cache. s ** -0.75 is a first guess from the bits of s, within
5 %, and three Newton steps of y -> y (1.25 - 0.25 s^3 y^4), which leave less than fp32 can tell apart; they take a
fraction of the time of two square roots and a division. Threads share the pixels out, so their number changes no result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from distalex.compiled import as_array, load_row, share_out, store_row

REACH = 2  # channels on each side of a window of 5
_GUESS = np.int32(0x6F14B800)  # found by trying: the least error after two steps, over four octaves


@njit(inline="always")
def _window(values: Any, channel: int) -> Any:
    return values[channel] + values[channel + 1] + values[channel + 2] + values[channel + 3] + values[channel + 4]


@njit(inline="always")
def _newton(scale: Any, power: Any) -> Any:
    root = scale * power
    return power * (np.float32(1.25) - np.float32(0.25) * root * root * root * power)


@njit(inline="always")
def _scale_and_guess(value: Any, square: Any, scale: Any, scale_bits: Any, power_bits: Any, ratio: Any, k: Any, floor: Any) -> None:
    """From a pixel's values, those below `floor` raised to it: their scale s, and the first guess of s ** -0.75."""
    for c in range(len(value)):
        value[c] = floor if value[c] <= floor else value[c]  # which keeps a NaN
        square[c + REACH] = value[c] * value[c]
    for c in range(len(value)):
        scale[c] = k + ratio * _window(square, c)
    for c in range(len(value)):
        power_bits[c] = _GUESS - (scale_bits[c] >> 2) * np.int32(3)


_FAST = {"contract", "reassoc", "arcp", "nsz"}  # all but what would let NaN and infinity vanish


@njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
def _forward(x: Any, out: Any, ratio: Any, k: Any, columns: int, floor: Any) -> None:
    rows, channels = x.shape
    width = channels // columns
    value, scale, power = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(width, np.float32)
    value_bits, scale_bits, power_bits = value.view(np.int32), scale.view(np.int32), power.view(np.int32)
    square = np.zeros(width + 2 * REACH, np.float32)
    for row in range(rows):
        for start in range(0, channels, width):
            load_row(x[row, start : start + width], value, value_bits)
            _scale_and_guess(value, square, scale, scale_bits, power_bits, ratio, k, floor)
            for c in range(width):
                power[c] = value[c] * _newton(scale[c], _newton(scale[c], _newton(scale[c], power[c])))
            store_row(out[row, start : start + width], power, power_bits)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
def _backward(gradient: Any, x: Any, out: Any, ratio: Any, k: Any, factor: Any, columns: int, floor: Any) -> None:
    rows, channels = x.shape
    width = channels // columns
    value, scale, power = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(width, np.float32)
    value_bits, scale_bits, power_bits = value.view(np.int32), scale.view(np.int32), power.view(np.int32)
    given = np.zeros(width, np.float32)
    given_bits = given.view(np.int32)
    square, through = np.zeros(width + 2 * REACH, np.float32), np.zeros(width + 2 * REACH, np.float32)
    for row in range(rows):
        for start in range(0, channels, width):
            load_row(x[row, start : start + width], value, value_bits)
            load_row(gradient[row, start : start + width], given, given_bits)
            _scale_and_guess(value, square, scale, scale_bits, power_bits, ratio, k, floor)
            for c in range(width):
                s = scale[c]
                p = _newton(s, _newton(s, _newton(s, power[c])))
                power[c] = p
                root = s * p  # s ** 0.25, and p / s is p^5 s^2 = root^2 p^3
                through[c + REACH] = given[c] * value[c] * p * (root * root) * (p * p)
            for c in range(width):
                passed = given[c] * power[c] - factor * value[c] * _window(through, c)
                given[c] = np.float32(0.0) if value[c] <= floor else passed
            store_row(out[row, start : start + width], given, given_bits)


def _pixels(x: Tensor) -> np.ndarray:
    """Channels-last (n, channels, h, w) as (n * h * w, channels), without a copy."""
    return as_array(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))


def as_laid(x: Tensor, columns: int) -> Tensor:
    """`x` channels-last, which is how `forward` takes it."""
    return x.contiguous(memory_format=torch.channels_last)


def forward(x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """Normalise channels-last `x`, fp32 or bf16, over windows of 5 channels of one column, with beta 0.75.

    With `rectifies` a ReLU goes before, in the same pass.
    """
    out = torch.empty_like(x)
    share_out(_forward, [_pixels(x), _pixels(out)], np.float32(alpha / 5), np.float32(k), columns, _floor(rectifies))
    return out


def backward(gradient: Tensor, x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """The gradient of `forward`'s `x`, which is channels-last."""
    gradient, out = as_laid(gradient, columns), torch.empty_like(x)
    arrays = [_pixels(gradient), _pixels(x), _pixels(out)]
    factor = np.float32(2 * alpha * 0.75 / 5)
    share_out(_backward, arrays, np.float32(alpha / 5), np.float32(k), factor, columns, _floor(rectifies))
    return out


def _floor(rectifies: bool) -> np.float32:
    return np.float32(0.0) if rectifies else np.float32(-3.4e38)
