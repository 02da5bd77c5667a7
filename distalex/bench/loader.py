"""`bench loader`: images/s of loading alone and of the network's input, here and in FFCV, torchvision and WebDataset by themselves."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distalex.bench.files import write_files
from distalex.bench.options import BenchOptions
from distalex.bench.results import open_folder, run_program, spread, write_result
from distalex.console import aligned
from distalex.errors import UserError
from distalex.machine.description import describe_machine
from distalex.machine.resources import cores

STORED = {
    "ffcv_raw": "FFCV by itself, raw",
    "distalex_raw": "distalex, raw",
    "ffcv_jpg": "FFCV by itself, JPEG",
    "distalex_jpg": "distalex, JPEG",
}
INPUT = {
    "input_raw": "distalex, raw",
    "input_jpg": "distalex, JPEG",
    "dataloader_original": "DataLoader, original files",
    "dataloader_stored": "DataLoader, stored-size JPEG files",
    "webdataset": "WebDataset, stored-size JPEG in tar files",
}
GOALS = {"overhead_percent": 5.0, "input_raw": 20.0, "input_jpg": 3.0}
"""Overhead over FFCV at most; rate of an input over a DataLoader's at least."""
ENDS = ("min", "max")


def bench_loader(options: BenchOptions) -> dict[str, Any]:
    """Measure every side in turn, print tables, write OUT/loader-TIME.json and an image beside it.

    A side that fails is listed under `failed`, and the others go on. Raises UserError before anything is measured.
    """
    folder = open_folder(options.out)
    versions = {"webdataset": version("webdataset") if find_spec("webdataset") else "not installed"}
    wanted: Sequence[str] = options.sides or (*STORED, *INPUT)
    sides = [side for side in wanted if side != "webdataset" or find_spec("webdataset")]
    with tempfile.TemporaryDirectory() as place:
        print(f"preparing images of {options.root or 'random photographs'}", flush=True)
        setup, images = write_files(options, Path(place), "webdataset" in sides)
        print(_heading(options, images), flush=True)
        runs = []
        for repeat in range(options.repeats):
            for side in sides[:: 1 if repeat % 2 == 0 else -1]:  # there and back, so that a drift favours none
                runs.append({"repeat": repeat + 1, "side": side, **_measure(side, place, options.seconds)})
                print(_progress(runs[-1]), flush=True)
    done = [run for run in runs if "error" not in run]
    machine = describe_machine()
    machine["versions"].update(versions)
    result = {
        "what": "loader",
        "command": _command(options),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine,
        "workers": setup.workers,
        "page_cache": "warm: all files were written or read just before",
        "images": images,
        "input": {
            "image_size": setup.image_size,
            "window": setup.window,
            "margin": setup.margin,
            "precision": setup.precision,
            "batch": setup.batch,
        },
        **summary(done),
        "goals": GOALS,
        "not_installed": [side for side in wanted if side not in sides],
        "failed": [run for run in runs if "error" in run],
        "runs": done,
    }
    print(report(result))
    path = write_result(result, folder)
    if done:
        from distalex.bench.draw_loader import draw_loader

        draw_loader(result, path.with_suffix(".png"), STORED, INPUT)
    return result


def _measure(side: str, folder: str, seconds: float) -> dict[str, Any]:
    """What one side's process printed, or the error that ended it."""
    try:
        output = run_program([sys.executable, "-m", "distalex.bench.side", side, folder, str(seconds)])
    except UserError as error:
        return {"error": str(error).replace(folder, "FOLDER")}
    return json.loads(output.strip().splitlines()[-1])


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and spread by side; overheads over FFCV and ratios to the other loaders, compared within each repeat."""
    rates = {(run["side"], run["repeat"]): run["images_per_second"] for run in runs}

    def compared(one: str, other: str) -> list[float]:
        return [rate / rates[other, repeat] for (side, repeat), rate in rates.items() if side == one and (other, repeat) in rates]

    sides = {}
    for side in [side for side in (*STORED, *INPUT) if any(run["side"] == side for run in runs)]:
        own = [run for run in runs if run["side"] == side]
        sides[side] = {key: spread([run[key] for run in own]) for key in ("images_per_second", "first_batch_seconds")}
    overheads = {kind: [100 * (ratio - 1) for ratio in compared(f"ffcv_{kind}", f"distalex_{kind}")] for kind in ("raw", "jpg")}
    ratios: dict[str, dict[str, dict[str, float]]] = {}
    for one in ("input_raw", "input_jpg"):
        pairs = {other: compared(one, other) for other in ("dataloader_original", "dataloader_stored", "webdataset")}
        ratios[one] = {other: spread(pair) for other, pair in pairs.items() if pair}
    return {
        "sides": sides,
        "overhead_percent": {kind: spread(percents) for kind, percents in overheads.items() if percents},
        "ratios": ratios,
    }


def _command(options: BenchOptions) -> str:
    """With everything that was measured spelled out, so that it means the same when defaults change."""
    values = {name: getattr(options, name) for name in ("images", "batch", "image_size", "precision", "repeats", "seconds")}
    if options.sides:
        values["sides"] = ",".join(options.sides)
    if options.root:
        values = {"root": "DIR", **values}
    return " ".join(["python -m distalex.bench loader", *(f"--{name}={value}" for name, value in values.items())])


def _heading(options: BenchOptions, images: dict[str, Any]) -> str:
    width, height = images["median_size"]
    sizes = images["bytes_of_a_image"]
    return (
        f"{images['count']:,} images ({images['kind']}, median {width}x{height}, {sizes['original'] / 1e3:,.0f} kB), "
        f"stored as {images['stored_size']}x{images['stored_size']} ({sizes['stored'] / 1e3:,.1f} kB as JPEG), "
        "all in memory (page cache warm)\n"
        f"batches of {options.batch}, input {options.image_size}x{options.image_size} {options.precision}, {cores()} cores and as many "
        f"workers; {options.repeats} repeats of {options.seconds:g} s at least"
    )


def _progress(run: dict[str, Any]) -> str:
    start = f"repeat {run['repeat']}  {run['side']:<19}"
    if "error" in run:
        return f"{start}  failed: {run['error']}"
    return f"{start}  {run['images_per_second']:>9,.0f} images/s  first batch after {run['first_batch_seconds']:.1f} s"


def report(result: dict[str, Any]) -> str:
    """Tables and sentences of a result."""
    tables = [_table(result, "stored images as uint8 batches", STORED), _table(result, "the network's input", INPUT)]
    lines = []
    for kind, percent in result["overhead_percent"].items():
        goal = result["goals"]["overhead_percent"]
        met = _met([percent[end] < goal for end in ENDS])
        spread_words = f"{percent['median']:.1f} % (from {percent['min']:.1f} to {percent['max']:.1f}; goal: below {goal:g}: {met})"
        lines.append(f"overhead over FFCV, {kind}: {spread_words}")
    for one, others in result["ratios"].items():
        for other, ratio in others.items():
            goal = result["goals"][one]
            aim = f"; goal: {goal:g}: {_met([ratio[end] >= goal for end in ENDS])}" if other.startswith("dataloader") else ""
            lines.append(f"{INPUT[one]} ÷ {INPUT[other]}: {ratio['median']:.1f} (from {ratio['min']:.1f} to {ratio['max']:.1f}{aim})")
    if result["failed"]:
        lines.append(f"failed: {len(result['failed'])} of {len(result['failed']) + len(result['runs'])} runs")
    return "\n" + "\n\n".join([table for table in tables if table] + ["\n".join(lines)])


def _table(result: dict[str, Any], title: str, names: dict[str, str]) -> str:
    rows = [[title, "images/s", "from", "to", "first batch"]]
    for side, name in names.items():
        if side in result["sides"]:
            numbers = result["sides"][side]
            rate = numbers["images_per_second"]
            first = numbers["first_batch_seconds"]["median"]
            rows.append([name, *(f"{rate[kind]:,.0f}" for kind in ("median", "min", "max")), f"{first:.1f} s"])
        elif side in result["not_installed"]:
            rows.append([name, "not installed", "", "", ""])
    return aligned(rows) if len(rows) > 1 else ""


def _met(ends: Sequence[bool]) -> str:
    """In words, from whether the least and the most of the repeats meet a goal."""
    return "reached" if all(ends) else "missed" if not any(ends) else "undecided, repeats lie on both sides"
