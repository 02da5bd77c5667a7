"""Results of benchmarks: the spread of repeats, and a JSON file that names command, machine and date."""

from __future__ import annotations

import errno
import json
import os
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distalex.bench.options import BenchmarkOptions, name_of
from distalex.config.schema import plain_text
from distalex.files import refuse_unwritable, save_figure
from distalex.machine.description import describe_machine


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most of `values`."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def spread_text(numbers: Mapping[str, float], form: str = ".2f") -> str:
    """A `spread` in words, each number formatted by `form`."""
    return f"{numbers['median']:{form}} (from {numbers['min']:{form}} to {numbers['max']:{form}})"


def open_folder(out: str) -> Path:
    """Create the folder of results. Raises UserError where nothing can be written into it."""
    folder = Path(out)
    with refuse_unwritable(folder, "out", "give another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return folder


def make_result(options: BenchmarkOptions, found: Mapping[str, Any]) -> dict[str, Any]:
    """What was `found`, headed by the benchmark's name, its command, the date and the machine."""
    what = name_of(options)
    return {
        "what": what,
        "command": _command(what, options),
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        **found,
    }


def _command(what: str, options: BenchmarkOptions) -> str:
    """With every option spelled out, so that it means the same when defaults change; a place on this machine is DIR or a file's name."""
    values = options.model_dump(exclude={"out"})
    places = {"root": "DIR", "photographs": "DIR", "peer": Path(values.get("peer") or "").name}
    words = [f"--{name}={places.get(name) or plain_text(value)}" for name, value in values.items() if value not in (None, ())]
    return shlex.join(["python", "-m", "distalex.bench", what, *words])


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write FOLDER/WHAT-TIME.json and print its path."""
    path = folder / f"{result['what']}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"written: {path}")
    return path


def place_and_date(result: Mapping[str, Any]) -> str:
    """Where and when a result was measured, for figures: GPU if there is one, processor, cores, PyTorch and date."""
    machine = result["machine"]
    gpu = f"{machine['gpu']}, " if "gpu" in machine else ""
    return f"{gpu}{machine['processor']}, {machine['cores']} cores, PyTorch {machine['versions']['torch']}, {result['date']}"


def write_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib `figure` to `path` and print the path."""
    save_figure(figure, path, "out")
    print(f"drawn: {path}")
