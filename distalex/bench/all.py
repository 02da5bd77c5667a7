"""Every benchmark in one go, and one table and image of what each found."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distalex.bench.accuracy import bench_accuracy
from distalex.bench.loader import bench_loader
from distalex.bench.lrn import bench_lrn
from distalex.bench.options import BenchOptions
from distalex.bench.parallel import bench_parallel
from distalex.bench.plain import bench_plain
from distalex.bench.results import open_folder, write_result
from distalex.config.schema import validate
from distalex.console import aligned
from distalex.machine.description import describe_machine

BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "plain": bench_plain,
    "lrn": bench_lrn,
    "parallel": bench_parallel,
    "loader": bench_loader,
    "accuracy": bench_accuracy,
}
QUICK: dict[str, dict[str, Any]] = {  # minutes on two cores: one repeat, the sides that the table shows
    "plain": {"repeats": 1, "steps": 2},
    "lrn": {"repeats": 1, "batch": 32},
    "parallel": {"repeats": 1, "steps": 2, "batches": (64,), "modes": ("none", "data", "model")},
    "loader": {"repeats": 1, "seconds": 1.0, "images": 256, "sides": ("input_raw", "input_jpg", "dataloader_original")},
    "accuracy": {"repeats": 1, "steps": 2},
}


def bench_all(options: BenchOptions) -> dict[str, Any]:
    """Run each benchmark, print one table, write OUT/all-TIME.json, an image beside it and each one's own result."""
    folder = open_folder(options.out)
    started = time.perf_counter()
    results: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for what, bench in BENCHMARKS.items():
        chosen = {"what": what, "out": options.out, **(QUICK[what] if options.quick else {})}
        if options.root and what in ("plain", "accuracy"):
            chosen["root"] = options.root
        print(f"\n== {what}", flush=True)
        known = [results["plain"]["plain_images_per_second"]["median"]] if options.quick and what == "accuracy" else []
        start = time.perf_counter()
        results[what] = bench(validate(BenchOptions, chosen, {}), *known)
        seconds[what] = time.perf_counter() - start
        print(f"{what}: {seconds[what]:.0f} s", flush=True)
    rows = [row for what, found in results.items() for row in ROWS[what](found)]
    result = {
        "what": "all",
        "command": f"python -m distalex.bench all{' --quick' * options.quick}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "seconds": time.perf_counter() - started,
        "seconds_of": seconds,
        "failed": [run for found in results.values() for run in found.get("failed", [])],
        "rows": rows,
    }
    print(f"\n{table(result)}")
    path = write_result(result, folder)
    draw_all(result, path.with_suffix(".png"))
    return result


def _row(name: str, unit: str, ours: float, peer: float, peers_name: str, ratio: float) -> dict[str, Any]:
    return {"name": name, "unit": unit, "distalex": ours, "peer": peer, "peers_name": peers_name, "ratio": ratio}


def _of_plain(found: dict[str, Any]) -> list[dict[str, Any]]:
    ours, peer = (found[f"{side}_images_per_second"]["median"] for side in ("distalex", "plain"))
    return [_row("the tutorial's job", "images/s", ours, peer, "ordinary PyTorch", found["ratio"]["median"])]


def _of_lrn(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for row in found["rows"]:
        if row["layout"] == "channels-last":  # which the network is
            ours, peer, ratio = (row[key]["median"] for key in ("distalex_ms", "torch_ms", "ratio"))
            rows.append(_row(f"LRN {row['where']}, {row['precision']}", "ms", ours, peer, "torch", ratio))
    return rows


def _of_parallel(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for one in found["batches"]:
        for mode, name in (("data", "DDP on the same two processes"), ("none", "one process on the same cores")):
            if one[f"columns_to_{mode}"]:
                ours, peer = (one["modes"][kind]["images_per_second"]["median"] for kind in ("model", mode))
                ratio = one[f"columns_to_{mode}"]["median"]
                rows.append(_row(f"two columns, batch {one['batch']}", "images/s", ours, peer, name, ratio))
    return rows


def _of_loader(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for side, name in (("input_raw", "loading, raw"), ("input_jpg", "loading, JPEG")):
        ratio = found["ratios"][side].get("dataloader_original")
        if ratio:
            ours, peer = (found["sides"][one]["images_per_second"]["median"] for one in (side, "dataloader_original"))
            rows.append(_row(name, "images/s", ours, peer, "DataLoader on the original files", ratio["median"]))
    return rows


def _of_accuracy(found: dict[str, Any]) -> list[dict[str, Any]]:
    ours, peer = found["seconds"]["median"], found["plain_seconds_of_20_epochs"]
    name = f"to {found['top1']['median']:.1f} % on CIFAR-10"
    return [_row(name, "s", ours, peer, f"ordinary PyTorch, {found['tutorial']['top1']} %", found["sooner"]["median"])]


ROWS = {"plain": _of_plain, "lrn": _of_lrn, "parallel": _of_parallel, "loader": _of_loader, "accuracy": _of_accuracy}


def table(result: dict[str, Any]) -> str:
    """One line a comparison, and the machine."""
    head = ("", "distalex", "peer", "", "ratio", "peer is")
    rows = [
        (row["name"], _short(row["distalex"]), _short(row["peer"]), row["unit"], f"{row['ratio']:.2f} x", row["peers_name"])
        for row in result["rows"]
    ]
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    gpu = f"{machine['gpu']}, " if "gpu" in machine else ""
    where = f"{gpu}{machine['processor']}, {machine['cores']} cores, {versions}, {result['date']}"
    return f"{aligned([head, *rows])}\n{where}; {result['seconds']:.0f} s in all"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def draw_all(result: dict[str, Any], path: Path) -> None:
    """A bar for each comparison, as long as the ratio, on a logarithmic scale."""
    from matplotlib.figure import Figure

    rows = result["rows"][::-1]
    figure = Figure(figsize=(9, 0.6 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    ratios = [row["ratio"] for row in rows]
    axes.barh(range(len(rows)), [ratio - 1 for ratio in ratios], left=1, color="tab:blue")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    for place, row in enumerate(rows):
        words = f" {row['ratio']:.3g} x: {_short(row['distalex'])} against {_short(row['peer'])} {row['unit']}, {row['peers_name']}"
        axes.text(max(1.0, row["ratio"]), place, words, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, *ratios), max(ratios) * 60)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times as fast as the peer", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    machine = result["machine"]
    figure.suptitle(
        f"{machine['processor']}, {machine['cores']} cores, PyTorch {machine['versions']['torch']}, {result['date']}", fontsize=9
    )
    figure.savefig(path, dpi=120)
    print(f"drawn: {path}")
