"""`bench all`: every benchmark that compares speeds, with one table and figure of the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distalex.bench.accuracy import bench_accuracy
from distalex.bench.loader import bench_loader
from distalex.bench.loader_files import check_photographs
from distalex.bench.lrn import bench_lrn
from distalex.bench.options import BENCHMARKS, AllOptions
from distalex.bench.parallel import bench_parallel
from distalex.bench.plain import bench_plain, find_cifar10
from distalex.bench.results import make_result, open_folder, place_and_date, write_figure, write_result
from distalex.config.schema import validate
from distalex.console import aligned


class Part(NamedTuple):
    """One benchmark of all, and its options that are not defaults."""

    what: str
    run: Callable[..., dict[str, Any]]
    options: Mapping[str, Any]
    quick: Mapping[str, Any]
    """Further options of `--quick`."""


ONCE = {"repeats": 1}
CONTENDERS = {"contenders": ("input", "dataloader")}
COLUMNS = {"batches": (64,), "modes": ("none", "data", "model")}
PARTS = {
    "plain": Part("plain", bench_plain, {}, {**ONCE, "steps": 2}),
    "lrn": Part("lrn", bench_lrn, {}, {**ONCE, "batch": 32}),
    "parallel": Part("parallel", bench_parallel, COLUMNS, {**ONCE, "steps": 2}),
    "loader, raw": Part("loader", bench_loader, CONTENDERS, {**ONCE, "seconds": 1.0, "images": 256}),
    "loader, JPEG": Part("loader", bench_loader, {**CONTENDERS, "encoding": "jpg"}, {**ONCE, "seconds": 1.0, "images": 256}),
    "accuracy": Part("accuracy", bench_accuracy, {}, {**ONCE, "steps": 2}),
}


def bench_all(options: AllOptions) -> dict[str, Any]:
    """Run each benchmark, print one table, write OUT/all-TIME.json, a figure beside it and each one's own result."""
    find_cifar10(options.root, None)
    if options.photographs:
        check_photographs(options.photographs)
    folder = open_folder(options.out)
    started = time.perf_counter()
    results: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for name, part in PARTS.items():
        chosen = {"out": options.out, **part.options, **(part.quick if options.quick else {})}
        roots = {"plain": options.root, "accuracy": options.root, "loader": options.photographs}
        if root := roots.get(part.what):
            chosen["root"] = root
        print(f"\n== {name}", flush=True)
        # With --quick the accuracy benchmark takes the rate that `plain` has measured.
        known = [results["plain"]["plain_images_per_second"]["median"]] if options.quick and part.what == "accuracy" else []
        start = time.perf_counter()
        results[name] = part.run(validate(BENCHMARKS[part.what], chosen, {}), *known)
        seconds[name] = time.perf_counter() - start
        print(f"{name}: {seconds[name]:.0f} s", flush=True)
    result = make_result(
        options,
        {
            "seconds": time.perf_counter() - started,
            "seconds_of": seconds,
            "failed": [run for found in results.values() for run in found.get("failed", [])],
            "rows": [row for found in results.values() for row in ROWS[found["what"]](found)],
        },
    )
    print(f"\n{table(result)}")
    path = write_result(result, folder)
    draw_all(result, path.with_suffix(".png"))
    return result


def _row(name: str, unit: str, ours: float, peer: float, peers_name: str, ratio: float) -> dict[str, Any]:
    return {"name": name, "unit": unit, "distalex": ours, "peer": peer, "peers_name": peers_name, "ratio": ratio}


def _rows_of_plain(found: dict[str, Any]) -> list[dict[str, Any]]:
    ours, peer = (found[f"{name}_images_per_second"]["median"] for name in ("distalex", "plain"))
    return [_row("the tutorial's job", "images/s", ours, peer, "ordinary PyTorch", found["ratio"]["median"])]


def _rows_of_lrn(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for row in found["rows"]:
        ours, peer, ratio = (row[key]["median"] for key in ("distalex_ms", "torch_ms", "ratio"))
        rows.append(_row(f"LRN {row['where']}, {row['precision']}", "ms", ours, peer, "torch", ratio))
    return rows


def _rows_of_parallel(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for one in found["batches"]:
        for mode, name in (("data", "DDP on the same two processes"), ("none", "one process on the same cores")):
            if one[f"columns_to_{mode}"]:
                ours, peer = (one["modes"][kind]["images_per_second"]["median"] for kind in ("model", mode))
                ratio = one[f"columns_to_{mode}"]["median"]
                rows.append(_row(f"two columns, batch {one['batch']}", "images/s", ours, peer, name, ratio))
    return rows


def _rows_of_loader(found: dict[str, Any]) -> list[dict[str, Any]]:
    if not found["speedup"]:
        return []
    ours, peer = (found["contenders"][name]["images_per_second"]["median"] for name in ("input", "dataloader"))
    name = f"loading, {'JPEG' if found['images']['encoding'] == 'jpg' else 'raw'}"
    return [_row(name, "images/s", ours, peer, "DataLoader on the original files", found["speedup"]["median"])]


def _rows_of_accuracy(found: dict[str, Any]) -> list[dict[str, Any]]:
    if not found["sooner"]:
        return []
    ours, peer = found["seconds"]["median"], found["plain_seconds_of_20_epochs"]
    name = f"to {found['top1']['median']:.1f} % on CIFAR-10"
    return [_row(name, "s", ours, peer, f"ordinary PyTorch, {found['tutorial']['top1']} %", found["sooner"]["median"])]


ROWS = {
    "plain": _rows_of_plain,
    "lrn": _rows_of_lrn,
    "parallel": _rows_of_parallel,
    "loader": _rows_of_loader,
    "accuracy": _rows_of_accuracy,
}
"""The comparisons in a benchmark's result, by its name."""


def table(result: dict[str, Any]) -> str:
    """A line for each comparison, and one for the machine."""
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
    """Format three digits."""
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def draw_all(result: dict[str, Any], path: Path) -> None:
    """Draw a bar for each comparison into `path`, as long as the ratio on a logarithmic scale."""
    from matplotlib.figure import Figure

    rows = result["rows"][::-1]
    figure = Figure(figsize=(9, 0.6 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    ratios = [row["ratio"] for row in rows]
    axes.barh(range(len(rows)), [ratio - 1 for ratio in ratios], left=1, color="tab:blue")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    for place, row in enumerate(rows):
        words = f" {_short(row['ratio'])} ×: {_short(row['distalex'])} against {_short(row['peer'])} {row['unit']}, {row['peers_name']}"
        axes.text(max(1.0, row["ratio"]), place, words, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, *ratios), max(ratios) * 60)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("times as fast as the peer (logarithmic)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    figure.suptitle(f"{place_and_date(result)}\n{result['command']}", fontsize=9)
    write_figure(figure, path)
