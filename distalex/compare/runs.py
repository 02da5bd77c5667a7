"""Reading of the runs and checkpoints to compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distalex.config.loading import read_yaml
from distalex.config.schema import flatten
from distalex.errors import UserError, brief
from distalex.runs.checkpoint import known_runs, load, newest_first, step_of
from distalex.runs.metrics import read_metrics

KINDS = ("train", "eval")
"""Kinds of rows of metrics.jsonl that are compared."""

Rows = dict[int, dict[str, Any]]
"""Rows of metrics.jsonl of one kind, by step."""


@dataclass(frozen=True)
class ComparedRun:
    """A run or checkpoint that the user named, with everything of it that can be compared."""

    place: str
    """As the user named it."""
    curves: dict[str, Rows]
    """By kind, as in KINDS."""
    checkpoints: dict[int, Path]
    """By step."""
    options: dict[str, Any]
    """By dotted name, as the distalex that trained it wrote them; empty where unknown."""

    def describe(self) -> str:
        """Format what the run has, e.g. `runs/a: steps 1 to 6 in 6 rows, checkpoints at 3, 6`."""
        steps = list(self.curves["train"])
        rows = f"steps {min(steps)} to {max(steps)} in {len(steps)} rows" if steps else "no curve"
        saved = ", ".join(map(str, sorted(self.checkpoints)))
        return f"{self.place}: {rows}, {'checkpoints at ' + saved if saved else 'no checkpoint'}"


def open_compared(place: str, runs_dir: str) -> ComparedRun:
    """Open a path or the name of a run: a checkpoint, with its run's curves up to its step, or a whole run.

    Raises UserError where there is none, or it is damaged.
    """
    for path in (Path(place), Path(runs_dir) / place):
        if path.is_file():
            return _of_checkpoint(place, path)
        folder = path.parent if path.name == "checkpoints" else path
        if (folder / "metrics.jsonl").is_file() or (folder / "checkpoints").is_dir():
            return _of_run(place, folder)
    raise UserError(f"{place}: no such run or checkpoint{known_runs(runs_dir)}")


def _of_checkpoint(place: str, path: Path) -> ComparedRun:
    state = load(path)
    step = state["progress"]["step"]
    curves = read_curves(path.parent.parent / "metrics.jsonl") if path.parent.name == "checkpoints" else _no_curves()
    until = {kind: {row: values for row, values in rows.items() if row <= step} for kind, rows in curves.items()}
    return ComparedRun(place, until, {step: path}, flatten(state["config"]))


def _of_run(place: str, folder: Path) -> ComparedRun:
    saved = {step_of(path): path for path in newest_first(folder / "checkpoints")}
    config = folder / "config.yaml"
    options = flatten(read_yaml(config)[0]) if config.is_file() else {}
    return ComparedRun(place, read_curves(folder / "metrics.jsonl"), saved, options)


def _no_curves() -> dict[str, Rows]:
    return {kind: {} for kind in KINDS}


def read_curves(path: Path) -> dict[str, Rows]:
    """Read a metrics.jsonl: its rows by kind and step, none where there is no such file. Raises UserError for any other content."""
    curves = _no_curves()
    if not path.is_file():
        return curves
    try:
        rows = read_metrics(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({brief(error)})") from None
    if not rows and path.stat().st_size:
        raise UserError(f"{path}: no line of it is a row of metrics; name a run that distalex wrote")
    for row in rows:
        if not (isinstance(row, dict) and isinstance(row.get("kind"), str) and isinstance(row.get("step"), int)):
            raise UserError(f"{path}: {str(row)[:80]} is not a row of metrics, which has kind and step; name a run that distalex wrote")
        if row["kind"] in curves:
            curves[row["kind"]][row["step"]] = row
    return curves
