"""`bench linear`: the matrix products of the paper's fc6 beside the time that their arithmetic and their memory take alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distalex.bench.options import LinearOptions
from distalex.bench.results import make_result, open_folder, write_result
from distalex.console import aligned
from distalex.machine.precision import has_bf16
from distalex.machine.resources import keep_freed_memory
from distalex.machine.speed import matmul_peak, memory_speed

INPUTS, OUTPUTS = 9216, 4096
"""Of fc6, at 224x224."""


def bench_linear(options: LinearOptions) -> dict[str, Any]:
    """Time forward, input and weight gradients of fc6 on the CPU, print a table and write OUT/linear-TIME.json."""
    folder = open_folder(options.out)
    keep_freed_memory()
    cpu, rows = torch.device("cpu"), []
    speed = memory_speed(cpu)
    peaks = {}
    for precision, dtype in {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_bf16(cpu) else {})}.items():
        peaks[precision] = matmul_peak(cpu, dtype)
        weight = torch.randn(OUTPUTS, INPUTS).to(dtype)
        for batch in options.batches:
            images, gradient = torch.randn(batch, INPUTS).to(dtype), torch.randn(batch, OUTPUTS).to(dtype)
            for name, product, passes in (
                ("forward", lambda x=images, w=weight: x @ w.T, 1),
                ("input gradient", lambda g=gradient, w=weight: g @ w, 1),
                ("weight gradient", lambda g=gradient, x=images: g.T @ x, 2),  # written: memory is read before it
            ):
                arithmetic = 2 * batch * INPUTS * OUTPUTS / peaks[precision]
                memory = passes * weight.nbytes / speed
                row = {
                    "precision": precision,
                    "batch": batch,
                    "product": name,
                    "arithmetic_ms": 1e3 * arithmetic,
                    "memory_ms": 1e3 * memory,
                }
                rows.append({**row, "ms": 1e3 * _seconds(product, options.repeats)})
    found = {"threads": torch.get_num_threads(), "matmul_peak_gflops": {name: peak / 1e9 for name, peak in peaks.items()}}
    result = make_result(options, {**found, "memory_gb_per_second": speed / 1e9, "rows": rows})
    print(_table(rows))
    write_result(result, folder)
    return result


def _seconds(product: Callable[[], Tensor], repeats: int) -> float:
    """The median time of a product, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["fc6", "precision", "batch", "arithmetic, ms", "memory, ms", "measured, ms", "longer ÷ measured", "sum ÷ measured"]
    body = []
    for row in rows:
        parts = row["arithmetic_ms"], row["memory_ms"]
        shares = [f"{100 * part / row['ms']:.0f} %" for part in (max(parts), sum(parts))]
        numbers = [f"{value:.1f}" for value in (*parts, row["ms"])]
        body.append([row["product"], row["precision"], str(row["batch"]), *numbers, *shares])
    return "\n" + aligned([head, *body])
