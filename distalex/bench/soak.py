"""One run for as long as it is given: do memory, threads, open files and disk stay what they were?"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distalex.bench.faults import RUN
from distalex.bench.options import BenchOptions
from distalex.bench.results import open_folder, write_result
from distalex.console import aligned
from distalex.errors import UserError
from distalex.machine.description import describe_machine
from distalex.runs.metrics import read_metrics

SAMPLES = 240  # over the whole time
WARMING = 0.1  # share of the time that is not looked at: what is compiled, cached and allocated at first
MEASURES = {"memory": "MB resident", "threads": "threads", "handles": "open files", "disk": "MB in the run's folder, but for metrics.jsonl"}


def bench_soak(options: BenchOptions) -> dict[str, Any]:
    """Train, evaluate and save for `minutes`, watch the process, print a table and write OUT/soak-TIME.json."""
    folder = open_folder(options.out)
    if not Path("/proc/self/status").is_file():
        raise UserError("bench soak: this system has no /proc to watch a process by; run it on Linux")
    with tempfile.TemporaryDirectory() as place:
        words = {**RUN, "train.epochs": 10**6, "log.every": 10, "parallel": "none", "name": "soak", "runs_dir": place}
        command = [sys.executable, "-m", "distalex.train", *(f"--{key}={value}" for key, value in words.items())]
        with open(Path(place) / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        run, samples = Path(place) / "soak", []
        end = time.monotonic() + 60 * options.minutes
        while process.poll() is None and time.monotonic() < end:
            time.sleep(60 * options.minutes / SAMPLES)
            if process.poll() is None and (run / "metrics.jsonl").is_file():
                samples.append(_sample(process.pid, run))
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        rows = read_metrics(run / "metrics.jsonl") if samples else []
        said = (Path(place) / "log").read_text(errors="replace").strip().splitlines()[-1:]
    if not samples:
        raise UserError(f"bench soak: nothing was logged in {options.minutes:g} minutes ({''.join(said)[:200]}); give it more --minutes")
    samples = samples[round(WARMING * len(samples)) :]
    found = {measure: _over_time([sample[measure] for sample in samples]) for measure in MEASURES}
    result = {
        "what": "soak",
        "command": f"python -m distalex.bench soak --minutes={options.minutes:g}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "minutes": options.minutes,
        "steps": max(row["step"] for row in rows),
        "evaluations": sum(row["kind"] == "eval" for row in rows),
        "status": status,
        "measures": found,
        "failed": [] if status == 143 else [f"it ended with {status}: {''.join(said)[:300]}"],
    }
    print(_table(result))
    write_result(result, folder)
    return result


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
