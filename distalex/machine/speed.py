"""Measured speeds of a device: matrix products and memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
from torch import Tensor


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Measure FLOP/s of the best of four products of `size`-square matrices (2,048, on a GPU 8,192), on this process's threads.

    The numbers are random, since a GPU multiplies constant ones faster. A process measures once for each number of threads, so that
    training several networks in one process does not measure again for each.
    """
    return _matmul_peak(device, dtype, size or (8192 if device.type == "cuda" else 2048), torch.get_num_threads())


@functools.cache
def _matmul_peak(device: torch.device, dtype: torch.dtype, size: int, threads: int) -> float:
    one, other = (torch.randn((size, size), device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _best_of_four(lambda: (one @ other)[0, 0])


def memory_speed(device: torch.device, size: int = 64 * 2**20) -> float:
    """Measure bytes per second, read and written, of the best of four times that `size` fp32 numbers are scaled in place.

    A copy would also read the memory that it overwrites, on a CPU.
    """
    numbers = torch.ones(size, device=device)
    return 2 * numbers.nbytes / _best_of_four(lambda: numbers.mul_(1.0)[0])


def _best_of_four(work: Callable[[], Tensor]) -> float:
    """Return the least seconds of `work`, which returns one number of its result."""
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        work().item()  # which waits for a GPU
        best = min(best, time.perf_counter() - start)
    return best
