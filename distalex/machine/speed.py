"""Measured speeds of a device: matrix products and memory."""

from __future__ import annotations

import functools
import time

import torch


@functools.cache
def matmul_peak(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Measure FLOP/s of the best of four products of `size`-square matrices (2,048, on a GPU 8,192), on this process's threads.

    The numbers are random, since a GPU multiplies constant ones faster. A process measures once and returns that from then on, so that
    training several networks in one process does not measure again for each.
    """
    size = size or (8192 if device.type == "cuda" else 2048)
    one, other = (torch.randn((size, size), device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (one @ other)[0, 0].item()  # which waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def memory_speed(device: torch.device, size: int = 64 * 2**20) -> float:
    """Measure bytes per second, read and written, of the best of four times that `size` fp32 numbers are scaled in place.

    A copy would also read the memory that it overwrites, on a CPU.
    """
    numbers = torch.ones(size, device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        numbers.mul_(1.0)
        numbers[0].item()  # which waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * numbers.nbytes / best
