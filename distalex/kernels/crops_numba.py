"""Crops of stored images on a CPU, compiled by Numba: cut, resized, mirrored and normalised in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from distalex.kernels.arrays import as_array, recycled, run_on_threads, store_row
from distalex.kernels.crops import Crops


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _mirror(pixels: Any, turned: Any) -> None:
    """Reverse the pixels of a row. Indices are unsigned: Numba checks signed ones for negative values, which LLVM cannot vectorise."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    last = np.uint64(len(turned)) - three
    for x in range(np.uint64(len(turned)) // three):
        to = three * x
        turned[to] = pixels[last - to]
        turned[to + one] = pixels[last - to + one]
        turned[to + two] = pixels[last - to + two]


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _normalise(images: Any, top: Any, left: Any, mirrored: Any, shift: Any, out: Any, scale: Any) -> None:
    count, height, width = images.shape[0], images.shape[1], images.shape[2] // 3
    side = out.shape[1]
    shifts, scales = np.empty(3 * side, np.float32), np.empty(3 * side, np.float32)
    cut, black, turned = np.zeros(3 * side, np.uint8), np.zeros(3 * side, np.uint8), np.empty(3 * side, np.uint8)
    row = np.empty(3 * side, np.float32)
    bits = row.view(np.int32)
    for number in range(count):
        for x in range(side):
            for colour in range(3):
                shifts[3 * x + colour] = shift[number, colour]
                scales[3 * x + colour] = scale[colour]
        first, last = max(0, -left[number]), min(side, width - left[number])  # the rest lies outside of the image and is black
        cut[:] = 0
        for y in range(side):
            line = top[number] + y
            pixels = black
            if 0 <= line < height and first < last:
                begin = 3 * (left[number] + first)
                if last - first == side:
                    pixels = images[number, line, begin : begin + 3 * side]
                else:
                    cut[3 * first : 3 * last] = images[number, line, begin : begin + 3 * (last - first)]
                    pixels = cut
                if mirrored[number]:
                    _mirror(pixels, turned)
                    pixels = turned
            for x in range(3 * side):
                row[x] = (np.float32(pixels[x]) - shifts[x]) * scales[x]
            store_row(out[number, y], row, bits)


def normalised_crops(
    images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, side: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """`crops.normalised_crops` on the CPU; same arguments and result, of fp32 or bf16."""
    count, height, width, _ = images.shape
    out = recycled((count, side, side, 3), dtype)
    rows = images.contiguous().view(count, height, width * 3).numpy()
    arrays = [rows, top, left, mirrored, shift.numpy(), as_array(out.view(count, side, side * 3))]
    run_on_threads(_normalise, arrays, scale.numpy())
    return out


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _triangles(first: Any, length: Any, wanted: Any, starts: Any, counts: Any, weights: Any) -> None:
    """One image of `crops.triangle_weights`: for each wanted pixel the first stored pixel, the number of weights, and the weights."""
    scale = length / wanted
    reach = max(scale, 1.0)
    for place in range(wanted):
        centre = (place + 0.5) * scale
        start, stop = max(0, int(np.floor(centre - reach + 0.5))), min(length, int(np.ceil(centre + reach - 0.5)))
        total = 0.0
        for pixel in range(start, stop):
            weight = 1.0 - abs(pixel + 0.5 - centre) / reach
            weights[place, pixel - start] = weight
            total += weight
        starts[place], counts[place] = first + start, stop - start
        for number in range(stop - start):
            weights[place, number] /= total


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _resize_crops(
    images: Any, top: Any, left: Any, height: Any, width: Any, mirrored: Any, shift: Any, out: Any, scale: Any, reach: Any
) -> None:
    side = out.shape[1]
    line, row = np.empty(images.shape[2], np.float32), np.empty(3 * side, np.float32)
    bits = row.view(np.int32)
    starts, counts, weights = np.empty((2, side), np.int64), np.empty((2, side), np.int64), np.empty((2, side, reach), np.float32)
    for number in range(len(images)):
        _triangles(top[number], height[number], side, starts[0], counts[0], weights[0])
        _triangles(0, width[number], side, starts[1], counts[1], weights[1])
        edge, length = 3 * left[number], 3 * width[number]
        for y in range(side):
            line[:length] = 0
            for tap in range(counts[0, y]):
                pixels = images[number, starts[0, y] + tap, edge : edge + length]
                weight = weights[0, y, tap]
                for x in range(length):
                    line[x] += weight * np.float32(pixels[x])
            for x in range(side):
                place = side - 1 - x if mirrored[number] else x
                red, green, blue = np.float32(0), np.float32(0), np.float32(0)
                for tap in range(counts[1, place]):
                    pixel, weight = 3 * (starts[1, place] + tap), weights[1, place, tap]
                    red += weight * line[pixel]
                    green += weight * line[pixel + 1]
                    blue += weight * line[pixel + 2]
                row[3 * x] = (red - shift[number, 0]) * scale[0]
                row[3 * x + 1] = (green - shift[number, 1]) * scale[1]
                row[3 * x + 2] = (blue - shift[number, 2]) * scale[2]
            store_row(out[number, y], row, bits)


def resized_crops(
    images: Tensor, crops: Crops, mirrored: np.ndarray, wanted: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """`crops.resized_crops` on the CPU; same arguments and result, of fp32 or bf16."""
    count, height, width, _ = images.shape
    out = recycled((count, wanted, wanted, 3), dtype)
    rows = images.contiguous().view(count, height, width * 3).numpy()
    arrays = [rows, *crops, mirrored, shift.numpy(), as_array(out.view(count, wanted, wanted * 3))]
    run_on_threads(_resize_crops, arrays, scale.numpy(), 2 * max(1, -(-max(height, width) // wanted)) + 2)
    return out
