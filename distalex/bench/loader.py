"""`bench loader`: images/s of loading alone and of the network's input, in distalex, FFCV and PyTorch's DataLoader."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distalex.bench.loader_files import write_files
from distalex.bench.options import LoaderOptions
from distalex.bench.programs import read_json
from distalex.bench.results import make_result, open_folder, spread, write_result
from distalex.console import aligned
from distalex.errors import UserError
from distalex.machine.resources import cores

STORED = {"ffcv": "FFCV alone", "reader": "distalex's reader"}
"""Contenders that give stored images as uint8 batches, and their names in tables."""
INPUT = {"input": "distalex's input pipeline", "dataloader": "PyTorch's DataLoader, original files"}
"""Contenders that give the network's input: cropped, mirrored and normalised."""
MOST_OVERHEAD = 5.0
"""The goal for the reader's time beyond FFCV's, in percent."""
LEAST_SPEEDUP = {"raw": 20.0, "jpg": 3.0}
"""The goal for the rate of our input over the DataLoader's, by encoding."""


def bench_loader(options: LoaderOptions) -> dict[str, Any]:
    """Measure every contender in turn, print tables, write OUT/loader-TIME.json and a figure beside it.

    A contender that fails is listed under `failed`, and the others are still measured. Raises UserError before anything is measured.
    """
    folder = open_folder(options.out)
    named: tuple[str, ...] = options.contenders or (*STORED, *INPUT)
    contenders = tuple(dict.fromkeys(named))
    with tempfile.TemporaryDirectory() as place:
        print(f"preparing images of {options.root or 'random photographs'}", flush=True)
        task, images = write_files(options, Path(place))
        print(_heading(options, images), flush=True)
        runs = []
        for repeat in range(options.repeats):
            for name in contenders[:: 1 if repeat % 2 == 0 else -1]:  # there and back, so that a drift favours none
                runs.append({"repeat": repeat + 1, "contender": name, **_measure(name, place, options.seconds)})
                print(_progress(runs[-1]), flush=True)
    done = [run for run in runs if "error" not in run]
    result = make_result(
        options,
        {
            "workers": task.workers,
            "page_cache": "warm: all files were written or read just before",
            "images": images,
            "input": {
                "image_size": task.image_size,
                "crop": task.crop,
                "margin": task.margin,
                "precision": task.precision,
                "batch": task.batch,
            },
            **summarize(done),
            "goals": {"overhead_percent": MOST_OVERHEAD, "speedup": LEAST_SPEEDUP[options.encoding]},
            "failed": [run for run in runs if "error" in run],
            "runs": done,
        },
    )
    print(report(result))
    path = write_result(result, folder)
    if done:
        from distalex.bench.loader_figure import draw_loader

        draw_loader(result, path.with_suffix(".png"), STORED, INPUT)
    return result


def _measure(name: str, folder: str, seconds: float) -> dict[str, Any]:
    """What one contender's process printed, or its error."""
    try:
        return read_json(["-m", "distalex.bench.loader_contenders", name, folder, str(seconds)])
    except UserError as error:
        return {"error": str(error).replace(folder, "FOLDER")}


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The spread of each contender's rates, and of what is compared within each repeat.

    `overhead_percent` is the reader's time beyond FFCV's, `speedup` the rate of our input over the DataLoader's; each is None
    where one of the two was not measured.
    """
    rates = {(run["contender"], run["repeat"]): run["images_per_second"] for run in runs}

    def compare(one: str, other: str) -> list[float]:
        return [rate / rates[other, repeat] for (name, repeat), rate in rates.items() if name == one and (other, repeat) in rates]

    contenders = {}
    for name in (*STORED, *INPUT):
        if own := [run for run in runs if run["contender"] == name]:
            contenders[name] = {key: spread([run[key] for run in own]) for key in ("images_per_second", "first_batch_seconds")}
    overheads = [100 * (ratio - 1) for ratio in compare("ffcv", "reader")]
    speedups = compare("input", "dataloader")
    return {
        "contenders": contenders,
        "overhead_percent": spread(overheads) if overheads else None,
        "speedup": spread(speedups) if speedups else None,
    }


def _heading(options: LoaderOptions, images: dict[str, Any]) -> str:
    width, height = images["median_size"]
    sizes = images["bytes_per_image"]
    return (
        f"{images['count']:,} images ({images['kind']}, median {width}x{height}, {sizes['original'] / 1e3:,.0f} kB), "
        f"stored as {images['stored_size']}x{images['stored_size']} {images['encoding']} ({sizes['stored'] / 1e3:,.1f} kB), "
        "all in memory (page cache warm)\n"
        f"batches of {options.batch}, input {options.image_size}x{options.image_size} {options.precision}, {cores()} cores and as many "
        f"workers; {options.repeats} repeats of {options.seconds:g} s at least"
    )


def _progress(run: dict[str, Any]) -> str:
    start = f"repeat {run['repeat']}  {run['contender']:<10}"
    if "error" in run:
        return f"{start}  failed: {run['error']}"
    return f"{start}  {run['images_per_second']:>9,.0f} images/s  first batch after {run['first_batch_seconds']:.1f} s"


def report(result: dict[str, Any]) -> str:
    """Tables and sentences of a result."""
    tables = [_table(result, "stored images as uint8 batches", STORED), _table(result, "the network's input", INPUT)]
    lines, goals = [], result["goals"]
    if percent := result["overhead_percent"]:
        met = _met([percent[end] < goals["overhead_percent"] for end in ("min", "max")])
        numbers = f"{percent['median']:.1f} % (from {percent['min']:.1f} to {percent['max']:.1f}"
        lines.append(f"overhead of distalex's reader over FFCV: {numbers}; goal: below {goals['overhead_percent']:g}: {met})")
    if ratio := result["speedup"]:
        met = _met([ratio[end] >= goals["speedup"] for end in ("min", "max")])
        numbers = f"{ratio['median']:.1f} (from {ratio['min']:.1f} to {ratio['max']:.1f}"
        lines.append(f"{INPUT['input']} ÷ {INPUT['dataloader']}: {numbers}; goal: {goals['speedup']:g}: {met})")
    if result["failed"]:
        lines.append(f"failed: {len(result['failed'])} of {len(result['failed']) + len(result['runs'])} runs")
    return "\n" + "\n\n".join([table for table in tables if table] + ["\n".join(lines)])


def _table(result: dict[str, Any], title: str, names: dict[str, str]) -> str:
    rows = [[title, "images/s", "from", "to", "first batch"]]
    for contender, name in names.items():
        if contender in result["contenders"]:
            numbers = result["contenders"][contender]
            rate = numbers["images_per_second"]
            first = numbers["first_batch_seconds"]["median"]
            rows.append([name, *(f"{rate[kind]:,.0f}" for kind in ("median", "min", "max")), f"{first:.1f} s"])
    return aligned(rows) if len(rows) > 1 else ""


def _met(ends: Sequence[bool]) -> str:
    """In words, from whether the least and the most of the repeats meet a goal."""
    return "reached" if all(ends) else "missed" if not any(ends) else "undecided, the repeats disagree"
