"""The paper's local response normalisation for a CPU: one pass over memory each way, compiled by Numba.

Everything of a tile happens in the near caches: one pixel's channels where channels lie side by side in memory
(channels-last), those of `TILE` pixels where pixels do. A tile is one row of numbers in which the next channel is as many
places further as the tile has pixels, which the kernels are compiled for.

s ** -0.75 is a first guess from the bits of s, within 5 %, and three Newton steps of y -> y (1.25 - 0.25 s^3 y^4), which
leave less than fp32 can tell apart; they take a fraction of the time of two square roots and a division. Threads share
the images or pixels out, so their number changes no result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from distalex.kernels.arrays import as_array, load_row, share_out, store_row

REACH = 2  # channels on each side of a window of 5
TILE = 128  # pixels
_GUESS = np.int32(0x6F14B800)  # found by trying: the least error after two steps, over four octaves


@njit(inline="always")
def _window(values: Any, first: int, step: int) -> Any:
    """The sum of five channels that are `step` places apart."""
    near = values[first] + values[first + step] + values[first + 2 * step]
    return near + values[first + 3 * step] + values[first + 4 * step]


@njit(inline="always")
def _newton(scale: Any, power: Any) -> Any:
    root = scale * power
    return power * (np.float32(1.25) - np.float32(0.25) * root * root * root * power)


@njit(inline="always")
def _load(row: Any, start: int, step: int, values: Any, bits: Any) -> None:
    """A tile of a row that holds the same number of pixels of each channel: of every channel, `step` from `start` on."""
    if step == 1:
        load_row(row, values, bits)
        return
    channels = len(values) // step
    for channel in range(channels):
        first, place = channel * (len(row) // channels) + start, slice(channel * step, (channel + 1) * step)
        load_row(row[first : first + step], values[place], bits[place])


@njit(inline="always")
def _store(row: Any, start: int, step: int, values: Any, bits: Any) -> None:
    if step == 1:
        store_row(row, values, bits)
        return
    channels = len(values) // step
    for channel in range(channels):
        first, place = channel * (len(row) // channels) + start, slice(channel * step, (channel + 1) * step)
        store_row(row[first : first + step], values[place], bits[place])


@njit(inline="always")
def _scale_and_guess(
    value: Any, square: Any, step: int, scale: Any, scale_bits: Any, power_bits: Any, ratio: Any, k: Any, floor: Any
) -> None:
    """From a tile's values, those below `floor` raised to it: their scale s, and the first guess of s ** -0.75."""
    for c in range(len(value)):
        value[c] = floor if value[c] <= floor else value[c]  # which keeps a NaN
        square[c + REACH * step] = value[c] * value[c]
    for c in range(len(value)):
        scale[c] = k + ratio * _window(square, c, step)
    for c in range(len(value)):
        power_bits[c] = _GUESS - (scale_bits[c] >> 2) * np.int32(3)


_FAST = {"contract", "reassoc", "arcp", "nsz"}  # all but what would let NaN and infinity vanish


class Kernels(NamedTuple):
    forward: Callable[..., None]
    backward: Callable[..., None]


def _kernels(step: int) -> Kernels:
    """For tiles of `step` pixels, in rows that hold `pixels` numbers of each channel: one, or at least `step`."""

    def forward(x: Any, out: Any, pixels: int, ratio: Any, k: Any, floor: Any) -> None:
        size = x.shape[1] // pixels * step
        value, scale, power = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        value_bits, scale_bits, power_bits = value.view(np.int32), scale.view(np.int32), power.view(np.int32)
        square = np.zeros(size + 2 * REACH * step, np.float32)
        for row in range(len(x)):
            for tile in range(0, pixels, step):
                start = min(tile, pixels - step)  # the last tile reaches back into the one before
                _load(x[row], start, step, value, value_bits)
                _scale_and_guess(value, square, step, scale, scale_bits, power_bits, ratio, k, floor)
                for c in range(size):
                    power[c] = value[c] * _newton(scale[c], _newton(scale[c], _newton(scale[c], power[c])))
                _store(out[row], start, step, power, power_bits)

    def backward(gradient: Any, x: Any, out: Any, pixels: int, ratio: Any, k: Any, factor: Any, floor: Any) -> None:
        size = x.shape[1] // pixels * step
        value, scale, power = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        value_bits, scale_bits, power_bits = value.view(np.int32), scale.view(np.int32), power.view(np.int32)
        given = np.zeros(size, np.float32)
        given_bits = given.view(np.int32)
        square, through = np.zeros(size + 2 * REACH * step, np.float32), np.zeros(size + 2 * REACH * step, np.float32)
        for row in range(len(x)):
            for tile in range(0, pixels, step):
                start = min(tile, pixels - step)
                _load(x[row], start, step, value, value_bits)
                _load(gradient[row], start, step, given, given_bits)
                _scale_and_guess(value, square, step, scale, scale_bits, power_bits, ratio, k, floor)
                for c in range(size):
                    s = scale[c]
                    p = _newton(s, _newton(s, _newton(s, power[c])))
                    power[c] = p
                    root = s * p  # s ** 0.25, and p / s is p^5 s^2 = root^2 p^3
                    through[c + REACH * step] = given[c] * value[c] * p * (root * root) * (p * p)
                for c in range(size):
                    passed = given[c] * power[c] - factor * value[c] * _window(through, c, step)
                    given[c] = np.float32(0.0) if value[c] <= floor else passed
                _store(out[row], start, step, given, given_bits)

    compiled = njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
    for kernel in (forward, backward):
        kernel.__qualname__ += f"_{step}"  # Numba keeps what it compiled under this name, and would take one step's for the other's
    return Kernels(compiled(forward), compiled(backward))


KERNELS = {torch.channels_last: _kernels(1), torch.contiguous_format: _kernels(TILE)}


def _order(x: Tensor) -> torch.memory_format:
    """Contiguous where pixels lie side by side, and enough of them; else channels-last."""
    by_pixel = x.is_contiguous() and x.shape[2] * x.shape[3] >= TILE
    return torch.contiguous_format if by_pixel else torch.channels_last


def _rows(x: Tensor, order: torch.memory_format, columns: int) -> np.ndarray:
    """Without a copy, a row for each column of channels: of every image or, channels-last, of every pixel."""
    channels, height, width = x.shape[1:]
    if order is torch.channels_last:
        return as_array(x.permute(0, 2, 3, 1).reshape(-1, channels // columns))
    return as_array(x.reshape(-1, channels // columns * height * width))


def _run(kernel: Callable[..., None], order: torch.memory_format, tensors: list[Tensor], columns: int, *numbers: float) -> None:
    """A kernel of that order on as many threads as torch has."""
    pixels = 1 if order is torch.channels_last else tensors[0].shape[2] * tensors[0].shape[3]
    share_out(kernel, [_rows(tensor, order, columns) for tensor in tensors], pixels, *map(np.float32, numbers))


def as_laid(x: Tensor, columns: int) -> Tensor:
    """`x` in an order that `forward` takes: as it is where its pixels lie side by side, else channels-last."""
    return x.contiguous(memory_format=_order(x))


def forward(x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """Normalise `x` (n, channels, h, w), fp32 or bf16, over windows of 5 channels of one column, with beta 0.75.

    With `rectifies` a ReLU goes before, in the same pass.
    """
    order, out = _order(x), torch.empty_like(x)
    _run(KERNELS[order].forward, order, [x, out], columns, alpha / 5, k, _floor(rectifies))
    return out


def backward(gradient: Tensor, x: Tensor, alpha: float, k: float, columns: int, rectifies: bool) -> Tensor:
    """The gradient of `forward`'s `x`."""
    order, out = _order(x), torch.empty_like(x)
    numbers = alpha / 5, k, 2 * alpha * 0.75 / 5, _floor(rectifies)
    _run(KERNELS[order].backward, order, [gradient.contiguous(memory_format=order), x, out], columns, *numbers)
    return out


def _floor(rectifies: bool) -> float:
    return 0.0 if rectifies else -3.4e38
