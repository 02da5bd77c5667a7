"""`bench lrn`: local response normalisation against PyTorch's layer, forward and backward, at the paper's sizes, channels-last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distalex.bench.options import LrnOptions
from distalex.bench.results import make_result, open_folder, spread, write_result
from distalex.bench.timing import seconds_of
from distalex.console import aligned
from distalex.machine.resources import keep_freed_memory
from distalex.model.lrn import local_response_norm
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology

SIZES = {"after conv1 of a column": (48, 55), "after conv1": (96, 55), "after conv2": (256, 27)}
"""Channels, and side length in pixels, in the paper's network at 224x224."""


def bench_lrn(options: LrnOptions) -> dict[str, Any]:
    """Measure both in turn, print a table and write OUT/lrn-TIME.json.

    PyTorch's layer has no bf16 on a CPU and gets fp32 there. Both reuse freed memory, as in a training run.
    """
    device = choose_device(options.device, Topology())
    folder = open_folder(options.out)
    keep_freed_memory()
    rows = []
    for name, (channels, side) in SIZES.items():
        for precision in ("fp32", "bf16"):
            rows.append({"where": name, **_compare((options.batch, channels, side, side), precision, device, options.repeats)})
            print(f"{name}, {precision}: {rows[-1]['ratio']['median']:.1f} x", flush=True)
    result = make_result(options, {"layout": "channels-last", "device": device.type, "threads": torch.get_num_threads(), "rows": rows})
    print(_table(rows))
    write_result(result, folder)
    return result


def _compare(shape: tuple[int, ...], precision: str, device: torch.device, repeats: int) -> dict[str, Any]:
    """Milliseconds of both on (batch, channels, side, side), and the ratios of each repeat."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    ours = _timed(local_response_norm, shape, dtype, device)
    theirs = _timed(nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), shape, dtype if device.type == "cuda" else torch.float32, device)
    pairs = [(theirs(), ours()) for _ in range(repeats + 1)][1:]  # the first compiles
    return {
        "shape": list(shape),
        "precision": precision,
        "torch_ms": spread([1e3 * seconds for seconds, _ in pairs]),
        "distalex_ms": spread([1e3 * seconds for _, seconds in pairs]),
        "ratio": spread([torchs / own for torchs, own in pairs]),
    }


def _timed(norm: Callable[[Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Callable[[], float]:
    """A function that runs forward and backward once and returns the seconds it took."""
    x, gradient = (torch.rand(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last) for _ in range(2))
    x.requires_grad_()

    def once() -> float:
        x.grad = None
        return seconds_of(lambda: norm(x).backward(gradient), device)

    return once


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["forward and backward", "precision", "torch, ms", "distalex, ms", "ratio", "from", "to"]
    body = [
        [
            f"{row['where']}, {'x'.join(map(str, row['shape']))}",
            row["precision"],
            f"{row['torch_ms']['median']:.1f}",
            f"{row['distalex_ms']['median']:.1f}",
            *(f"{row['ratio'][key]:.1f}" for key in ("median", "min", "max")),
        ]
        for row in rows
    ]
    return "\n" + aligned([head, *body])
