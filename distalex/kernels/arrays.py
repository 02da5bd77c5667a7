"""What the Numba kernels share: tensors as NumPy arrays, rows of fp32 or bf16, reused memory, and threads.

NumPy has no bf16, so an array of bf16 holds the 16 bits of each number as uint16.
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

from distalex.shares import all_shares


def as_array(x: Tensor) -> np.ndarray:
    """A NumPy array that shares the memory of `x`, on the CPU; bf16 as uint16."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


CACHED = 4  # arrays
_cached: list[np.ndarray] = [np.empty(0)]


def _references(number: int) -> int:
    return sys.getrefcount(_cached[number])


UNUSED = _references(0)  # of an array that only the cache holds; the number differs between versions of Python


def recycled(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """`torch.empty(shape, dtype=dtype)` on the CPU, fp32 or bf16, in the memory of an earlier result that has been freed.

    The operating system takes 12 ms to allocate 38 MB, ten times as long as writing them takes.
    """
    kind = np.dtype({torch.float32: np.float32, torch.bfloat16: np.uint16}[dtype])
    for number in range(len(_cached)):
        if _cached[number].shape == shape and _cached[number].dtype == kind and _references(number) == UNUSED:
            return torch.from_numpy(_cached[number]).view(dtype)
    _cached[:] = [*_cached[1 - CACHED :], np.empty(shape, kind)]
    return torch.from_numpy(_cached[-1]).view(dtype)


@njit(inline="always")
def round_to_bf16(word: Any) -> Any:
    """Round an fp32 to bf16, both as bits, to nearest even."""
    bits = np.uint16((word + np.int32(0x7FFF) + ((word >> 16) & 1)) >> 16)
    return np.uint16(0x7FC0) if (word & 0x7FFFFFFF) > 0x7F800000 else bits  # NaN


def load_row(row: Any, values: Any, bits: Any) -> None:
    """Load numbers of fp32 or bf16 into `values`, fp32; `bits` is the same memory as int32. A stub that Numba replaces."""


def store_row(row: Any, values: Any, bits: Any) -> None:
    """Store `values` into `row`, rounded to nearest even where that is bf16; `bits` is the same memory as int32. A stub as above."""


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
                row[channel] = round_to_bf16(bits[channel])
    else:

        def store(row: Any, values: Any, bits: Any) -> None:
            for channel in range(len(row)):
                row[channel] = values[channel]

    return store


_pool: list[ThreadPoolExecutor] = []


def run_on_threads(kernel: Callable[..., None], arrays: list[np.ndarray], *options: Any) -> None:
    """Call `kernel(*arrays, *options)` on as many threads as PyTorch uses, each with a share of the first dimension of every array.

    All arrays have the same length; the kernel releases the GIL. Returns when all threads are done; raises what a kernel raises.
    """
    threads, rows = torch.get_num_threads(), len(arrays[0])
    if not _pool or _pool[0]._max_workers < threads - 1:
        _pool[:] = [ThreadPoolExecutor(max(1, threads - 1), "distalex")]
    parts = all_shares(rows, threads)
    waiting = [_pool[0].submit(kernel, *(array[part] for array in arrays), *options) for part in parts[1:]]
    kernel(*(array[parts[0]] for array in arrays), *options)
    for part in waiting:
        part.result()
