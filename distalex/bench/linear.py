"""`bench linear`: the matrix products and casts of the paper's fc6 beside the time that their arithmetic and their memory take alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from distalex.bench.options import LinearOptions
from distalex.bench.results import make_result, open_folder, write_result
from distalex.console import aligned
from distalex.machine.precision import has_bf16
from distalex.machine.resources import keep_freed_memory

INPUTS, OUTPUTS = 9216, 4096
"""Of fc6, at 224x224."""
PASSES = {"forward": 1, "input gradient": 1, "weight gradient": 2}
"""Times that a product moves as many bytes as there are weights: it reads them, or writes their gradient, whose place is read first."""
CASTS = {"weight to bf16": 4 + 2 * 2, "gradient to fp32": 2 + 2 * 4}
"""Bytes of each weight that autocast's casts move: one form is read, the other written, whose place is read first."""
LARGE, SQUARE = "large product", 2048
MEMORY, NUMBERS = "memory", 64 * 2**20


def bench_linear(options: LinearOptions) -> dict[str, Any]:
    """Time forward, input and weight gradients of fc6 on the CPU, print a table and write OUT/linear-TIME.json.

    Every repeat measures the speeds of a large product and of memory too, since those of a shared machine change.
    """
    folder = open_folder(options.out)
    keep_freed_memory()
    precisions = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_bf16(torch.device("cpu")) else {})}
    numbers = torch.ones(NUMBERS)
    works: dict[tuple[str, int, str], Callable[[], Tensor]] = {("", 0, MEMORY): lambda: numbers.mul_(1.0)}
    for precision, dtype in precisions.items():
        works |= {(precision, *rest): work for rest, work in _products(dtype, options.batches).items()}
    seconds = _medians(works, options.repeats)
    speed = 2 * numbers.nbytes / seconds["", 0, MEMORY]
    peaks = {precision: 2 * SQUARE**3 / seconds[precision, 0, LARGE] for precision in precisions}
    rows = []
    for (precision, batch, product), measured in seconds.items():
        if product not in (LARGE, MEMORY):
            moved = CASTS[product] if product in CASTS else PASSES[product] * precisions[precision].itemsize
            arithmetic, memory = 2 * batch * INPUTS * OUTPUTS / peaks[precision], moved * INPUTS * OUTPUTS / speed
            found = {"arithmetic_ms": 1e3 * arithmetic, "memory_ms": 1e3 * memory, "ms": 1e3 * measured}
            rows.append({"precision": precision, "batch": batch, "product": product, **found})
    found = {"threads": torch.get_num_threads(), "matmul_peak_gflops": {name: peak / 1e9 for name, peak in peaks.items()}}
    result = make_result(options, {**found, "memory_gb_per_second": speed / 1e9, "rows": rows})
    print(_table(rows))
    write_result(result, folder)
    return result


def _products(dtype: torch.dtype, batches: Sequence[int]) -> dict[tuple[int, str], Callable[[], Tensor]]:
    """The products and casts to time, by batch and name. At batch 0 are casts and a large product, whose speed is the peak."""
    full, large = torch.randn(OUTPUTS, INPUTS), torch.randn(SQUARE, SQUARE).to(dtype)
    weight = full.to(dtype)
    works: dict[tuple[int, str], Callable[[], Tensor]] = {(0, LARGE): lambda: large @ large}
    if dtype != full.dtype:
        works |= {
            (0, name): partial(torch.Tensor.to, *cast) for name, cast in zip(CASTS, ((full, dtype), (weight, full.dtype)), strict=True)
        }
    for batch in batches:
        images, gradient = torch.randn(batch, INPUTS).to(dtype), torch.randn(batch, OUTPUTS).to(dtype)
        works[batch, "forward"] = partial(torch.matmul, images, weight.T)
        works[batch, "input gradient"] = partial(torch.matmul, gradient, weight)
        works[batch, "weight gradient"] = partial(torch.matmul, gradient.T, images)
    return works


def _medians(works: Mapping[Any, Callable[[], Tensor]], repeats: int) -> dict[Any, float]:
    """Median seconds of each of `works` over interleaved repeats, after one that is not counted."""
    seconds: dict[Any, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured[1:]) for name, measured in seconds.items()}


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["fc6", "precision", "batch", "arithmetic, ms", "memory, ms", "measured, ms", "longer ÷ measured", "sum ÷ measured"]
    body = []
    for row in rows:
        parts = row["arithmetic_ms"], row["memory_ms"]
        shares = [f"{100 * part / row['ms']:.0f} %" for part in (max(parts), sum(parts))]
        numbers = [f"{value:.1f}" for value in (*parts, row["ms"])]
        body.append([row["product"], row["precision"], str(row["batch"] or ""), *numbers, *shares])
    return "\n" + aligned([head, *body])
