"""What `bench faults` reports: how a struck run differs from an undisturbed one, and what each kind of fault cost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distalex.bench.faults_attempt import read_rows
from distalex.bench.results import spread
from distalex.console import aligned


@dataclass
class Tally:
    """The faults of one kind."""

    count: int = 0
    """How many struck."""
    seconds: list[float] = field(default_factory=list)
    """From each fault to the end of the last process."""
    lost: list[int] = field(default_factory=list)
    """Steps that had to be repeated after each."""
    wrong: list[str] = field(default_factory=list)
    """Attempts that did not end as they must, in words."""

    def numbers(self) -> dict[str, Any]:
        """The same for a JSON result; `count` is at least 1."""
        lost = spread([float(lost) for lost in self.lost])
        return {"count": self.count, "seconds": spread(self.seconds), "steps_lost": lost, "wrong": self.wrong}


def differences(undisturbed: Path, struck: Path) -> list[str]:
    """How the run directory `struck` differs from `undisturbed`, in words: steps, losses, weights, and temporary files left behind."""
    problems = []
    rows, expected = ([_without_times(row) for row in read_rows(folder)] for folder in (struck, undisturbed))
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    if len(steps) != len(set(steps)):
        problems.append("a step occurs twice in metrics.jsonl")
    if rows != expected:
        first = next((one for one, other in zip(rows, expected, strict=False) if one != other), None)
        problems.append(f"metrics.jsonl differs, {len(rows)} rows against {len(expected)}, first {first}")
    compared = subprocess.run(
        [sys.executable, "-m", "distalex.compare", str(undisturbed), str(struck), "--tolerance=0"], capture_output=True, text=True
    )
    if compared.returncode:
        problems.append((compared.stdout + compared.stderr).strip().splitlines()[-1][:300])
    left = [path.name for path in (*struck.rglob("*.partial"), *struck.parent.glob(f".{struck.name}.lock"))]
    if left:
        problems.append(f"files left behind: {', '.join(left[:5])}")
    return problems


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row.get(key) for key in ("kind", "step", "epoch", "loss", "top1", "top5", "lr", "count")}


def report(result: dict[str, Any]) -> str:
    """A table of the faults, and a sentence about the runs."""
    rows = [["fault", "times", "seconds until all processes ended (longest)", "steps repeated (most)", "wrong"]]
    for name, one in result["faults"].items():
        seconds, lost = one["seconds"], one["steps_lost"]
        times = f"{seconds['median']:.1f} ({seconds['max']:.1f})"
        rows.append([name, str(one["count"]), times, f"{lost['median']:.0f} ({lost['max']:.0f})", str(len(one["wrong"]))])
    equal = sum(not run["problems"] for run in result["runs"])
    return "\n".join([aligned(rows), f"{equal} of {len(result['runs'])} runs equal, to the bit, an undisturbed run", *result["failed"]])
