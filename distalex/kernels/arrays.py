"""What the kernels that Numba compiles for a CPU share: rows of fp32 or bf16, and threads.

NumPy knows no bf16, so such a tensor comes as the 16 bits of each number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from numba.core import types
from numba.extending import overload
from torch import Tensor

from distalex.shares import share


def as_array(x: Tensor) -> np.ndarray:
    """The same memory; bf16 as uint16."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


KEPT = 4
_kept: list[np.ndarray] = [np.empty(0)]


def _references(number: int) -> int:
    return sys.getrefcount(_kept[number])


UNUSED = _references(0)  # how many that is differs between Pythons


def recycled(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """`torch.empty` on the CPU, in memory of an earlier one that nobody holds any more where there is such.

    The kernel takes 12 ms to hand out 38 MB, ten times what it takes to write them.
    """
    kind = np.dtype({torch.float32: np.float32, torch.bfloat16: np.uint16}[dtype])
    for number in range(len(_kept)):
        if _kept[number].shape == shape and _kept[number].dtype == kind and _references(number) == UNUSED:
            return torch.from_numpy(_kept[number]).view(dtype)
    _kept[:] = [*_kept[1 - KEPT :], np.empty(shape, kind)]
    return torch.from_numpy(_kept[-1]).view(dtype)


@njit(inline="always")
def rounded(word: Any) -> Any:
    """The bf16 nearest to an fp32, both as bits; of two as near, the even one."""
    kept = np.uint16((word + np.int32(0x7FFF) + ((word >> 16) & 1)) >> 16)
    return np.uint16(0x7FC0) if (word & 0x7FFFFFFF) > 0x7F800000 else kept  # NaN


def load_row(row: Any, values: Any, bits: Any) -> None:
    """A pixel's channels as fp32; bf16 comes as its 16 bits."""


def store_row(row: Any, values: Any, bits: Any) -> None:
    """fp32 values into a pixel's channels, rounded to nearest even where those are bf16."""


@overload(load_row, inline="always")
def _load_of(row: Any, values: Any, bits: Any) -> Callable[..., None]:
    if row.dtype == types.uint16:

        def load(row: Any, values: Any, bits: Any) -> None:
            for channel in range(len(row)):
                bits[channel] = np.int32(row[channel]) << 16
    else:

        def load(row: Any, values: Any, bits: Any) -> None:
            for channel in range(len(row)):
                values[channel] = row[channel]

    return load


@overload(store_row, inline="always")
def _store_of(row: Any, values: Any, bits: Any) -> Callable[..., None]:
    if row.dtype == types.uint16:

        def store(row: Any, values: Any, bits: Any) -> None:
            for channel in range(len(row)):
                row[channel] = rounded(bits[channel])
    else:

        def store(row: Any, values: Any, bits: Any) -> None:
            for channel in range(len(row)):
                row[channel] = values[channel]

    return store


_pool: list[ThreadPoolExecutor] = []


def share_out(kernel: Callable[..., None], arrays: list[np.ndarray], *options: Any) -> None:
    """Run `kernel(*arrays, *options)` on as many threads as torch has, each with a share of every array's first dimension."""
    threads, rows = torch.get_num_threads(), len(arrays[0])
    if not _pool or _pool[0]._max_workers < threads - 1:
        _pool[:] = [ThreadPoolExecutor(max(1, threads - 1), "distalex")]
    parts = [share(rows, thread, threads) for thread in range(threads)]
    waiting = [_pool[0].submit(kernel, *(array[part] for array in arrays), *options) for part in parts[1:]]
    kernel(*(array[parts[0]] for array in arrays), *options)
    for part in waiting:
        part.result()
