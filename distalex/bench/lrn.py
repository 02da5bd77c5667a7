"""`bench lrn`: local response normalisation forward and backward, ours against torch's layer, at the paper's two sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distalex.bench.options import BenchOptions
from distalex.bench.results import open_folder, spread, write_result
from distalex.console import aligned
from distalex.machine.description import describe_machine
from distalex.machine.resources import keep_freed_memory
from distalex.model.lrn import local_response_norm

SIZES = {"after conv1 of a column": (48, 55), "after conv1": (96, 55), "after conv2": (256, 27)}
"""Channels, and side in pixels, of the paper's network at 224."""
LAYOUTS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}


def bench_lrn(options: BenchOptions) -> dict[str, Any]:
    """Measure both sides in turn, print a table and write OUT/lrn-TIME.json. Torch's layer knows no bf16 on a CPU, and has fp32 there.

    Both reuse freed memory, as in a training run.
    """
    folder = open_folder(options.out)
    device = torch.device("cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu")
    batch = options.batch if "batch" in options.model_fields_set else 64
    keep_freed_memory()
    rows = []
    for name, (channels, side) in SIZES.items():
        for layout in LAYOUTS:
            for precision in ("fp32", "bf16"):
                rows.append({"where": name, **_measure((batch, channels, side, side), layout, precision, device, options.repeats)})
                print(f"{name}, {layout}, {precision}: {rows[-1]['ratio']['median']:.1f} x", flush=True)
    result = {
        "what": "lrn",
        "command": f"python -m distalex.bench lrn --batch={batch} --repeats={options.repeats}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "rows": rows,
    }
    print(_table(rows))
    write_result(result, folder)
    return result


def _measure(shape: tuple[int, ...], layout: str, precision: str, device: torch.device, repeats: int) -> dict[str, Any]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    ours = _passes(local_response_norm, shape, dtype, LAYOUTS[layout], device)
    known = dtype if device.type == "cuda" else torch.float32
    theirs = _passes(nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), shape, known, LAYOUTS[layout], device)
    pairs = [(theirs(), ours()) for _ in range(repeats + 1)][1:]  # the first compiles
    return {
        "shape": list(shape),
        "layout": layout,
        "precision": precision,
        "torch_ms": spread([1e3 * torchs for torchs, _ in pairs]),
        "distalex_ms": spread([1e3 * own for _, own in pairs]),
        "ratio": spread([torchs / own for torchs, own in pairs]),
    }


def _passes(
    norm: Callable[[Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format, device: torch.device
) -> Callable[[], float]:
    """Something that goes forward and back once and gives the seconds it took."""
    x = torch.rand(shape, device=device).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    gradient = torch.rand(shape, device=device).to(dtype).contiguous(memory_format=memory_format)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def once() -> float:
        x.grad = None
        wait()
        start = time.perf_counter()
        norm(x).backward(gradient)
        wait()
        return time.perf_counter() - start

    return once


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["forward and backward", "precision", "layout", "torch, ms", "distalex, ms", "ratio", "from", "to"]
    body = [
        [
            f"{row['where']}, {'x'.join(map(str, row['shape']))}",
            row["precision"],
            row["layout"],
            f"{row['torch_ms']['median']:.1f}",
            f"{row['distalex_ms']['median']:.1f}",
            *(f"{row['ratio'][key]:.1f}" for key in ("median", "min", "max")),
        ]
        for row in rows
    ]
    return "\n" + aligned([head, *body])
