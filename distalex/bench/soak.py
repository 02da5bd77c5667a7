"""`bench soak`: one training run watched for long. Do its memory, threads, open files and disk space stay constant?"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from distalex.bench.options import SoakOptions
from distalex.bench.programs import started
from distalex.bench.results import make_result, open_folder, write_result
from distalex.bench.small_run import small_run
from distalex.console import aligned
from distalex.errors import UserError
from distalex.runs.metrics import read_metrics

SAMPLES = 240  # over the whole time
WARM_UP = 0.1  # share of the samples that is dropped: at first things are compiled, cached and allocated
MEASURES = {
    "memory": "MB resident",
    "threads": "threads",
    "handles": "open files",
    "disk": "MB in the run directory, without metrics.jsonl",
}


def bench_soak(options: SoakOptions) -> dict[str, Any]:
    """Train, evaluate and save for `minutes`, watch the process, print a table and write OUT/soak-TIME.json. Raises UserError."""
    folder = open_folder(options.out)
    if not Path("/proc/self/status").is_file():
        raise UserError("bench soak: this system has no /proc, which shows a process's memory; run it on Linux")
    with tempfile.TemporaryDirectory() as place:
        words = small_run({"train.epochs": 10**6, "log.every": 10, "parallel": "none", "name": "soak", "runs_dir": place})
        log = Path(place) / "log"
        run = Path(place) / "soak"
        with open(log, "wb") as file, started(words, os.environ, stdout=file, stderr=file) as process:
            samples = _watch(process, run, options.minutes)
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        rows = read_metrics(run / "metrics.jsonl") if samples else []
        last_line = "".join(log.read_text(errors="replace").strip().splitlines()[-1:])[:300]
    if not samples:
        raise UserError(f"minutes={options.minutes:g}: nothing was logged in this time ({last_line}); use more --minutes")
    samples = samples[round(WARM_UP * len(samples)) :]
    result = make_result(
        options,
        {
            "minutes": options.minutes,
            "steps": max(row["step"] for row in rows),
            "evaluations": sum(row["kind"] == "eval" for row in rows),
            "status": status,
            "measures": {measure: _over_time([sample[measure] for sample in samples]) for measure in MEASURES},
            "failed": [] if status == 143 else [f"the run ended with status {status}: {last_line}"],
        },
    )
    print(_table(result))
    write_result(result, folder)
    return result


def _watch(process: subprocess.Popen[bytes], run: Path, minutes: float) -> list[dict[str, float]]:
    """Sample the process for `minutes`, or until it ends."""
    samples = []
    end = time.monotonic() + 60 * minutes
    while process.poll() is None and time.monotonic() < end:
        time.sleep(60 * minutes / SAMPLES)
        if process.poll() is None and (run / "metrics.jsonl").is_file():
            samples.append(_sample(process.pid, run))
    return samples


def _sample(process: int, run: Path) -> dict[str, float]:
    place = Path(f"/proc/{process}")
    fields = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
    sizes = 0
    for path in run.rglob("*"):
        try:
            sizes += path.stat().st_size if path.is_file() and path.name != "metrics.jsonl" else 0
        except FileNotFoundError:  # a checkpoint that was just replaced
            continue
    return {
        "memory": int(fields["VmRSS"].split()[0]) / 1000,
        "threads": int(fields["Threads"]),
        "handles": len(os.listdir(place / "fd")),
        "disk": sizes / 1e6,
    }


def _over_time(values: list[float]) -> dict[str, float]:
    """Medians of the first and the last quarter, and the extremes."""
    quarter = max(1, len(values) // 4)
    return {
        "first_quarter": statistics.median(values[:quarter]),
        "last_quarter": statistics.median(values[-quarter:]),
        "least": min(values),
        "most": max(values),
    }


def _table(result: dict[str, Any]) -> str:
    rows = [["", "first quarter", "last quarter", "least", "most"]]
    for measure, unit in MEASURES.items():
        rows.append([unit, *(f"{result['measures'][measure][key]:,.1f}" for key in ("first_quarter", "last_quarter", "least", "most"))])
    counted = f"{result['steps']:,} steps and {result['evaluations']:,} evaluations and checkpoints in {result['minutes']:g} minutes"
    return f"{aligned(rows)}\n{counted}; medians of the quarters after the first tenth"
