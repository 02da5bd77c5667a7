"""The files of a run without its network: options, metrics, where it ran and whether it is running."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distalex.config.loading import read_yaml
from distalex.config.schema import flatten
from distalex.console import counted
from distalex.errors import UserError
from distalex.runs.checkpoint import known_runs, newest_first, step_of
from distalex.runs.metrics import best_evaluation, finite

Row = dict[str, Any]
"""A row of metrics.jsonl or starts.jsonl."""
SECONDS_UNTIL_ENDED = 1800.0
"""Seconds without a row after which a job on another host counts as ended."""
MOST_ROWS = 200_000
"""Rows of metrics.jsonl from which only every second, third, … training row is read."""


@dataclass(frozen=True)
class History:
    """A run as its files describe it; what is missing or damaged is empty and reported in `notes`."""

    folder: Path
    """Of the run."""
    options: dict[str, Any]
    """By dotted name."""
    train: tuple[Row, ...]
    """Rows of metrics.jsonl of kind `train`, in order of steps."""
    evals: tuple[Row, ...]
    """Rows of kind `eval`, in order of steps; without `top5` where that is always 100 %, as with five classes or fewer."""
    epochs: tuple[Row, ...]
    """Rows of kind `epoch`, in order of steps."""
    starts: tuple[Row, ...]
    """Rows of starts.jsonl: when, where and on how many processes it was started."""
    notes: tuple[str, ...]
    """One sentence for each thing that is missing or damaged."""
    running: bool
    """Whether it is training now."""
    saved: int
    """The step of its newest checkpoint; 0 without one."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def step(self) -> int:
        """The last step that is logged or saved; 0 without any."""
        return max((self.saved, *(row["step"] for row in (*self.train, *self.evals))))

    @property
    def best(self) -> Row | None:
        """The best evaluation, or None."""
        return best_evaluation(self.evals)

    @property
    def has_stopped_early(self) -> bool:
        """Whether `train.early_stop` epochs have gone by in which neither the top-1 rose nor the loss fell."""
        patience = finite(self.options.get("train.early_stop")) or 0
        top1, loss, best, epoch = -1.0, math.inf, 0.0, 0.0
        for row in self.evals:
            epoch = finite(row.get("epoch")) or epoch
            right, mean = (finite(row.get(key)) for key in ("top1", "loss"))
            if (right is not None and right > top1) or (mean is not None and mean < loss):
                best = epoch
            top1, loss = max(top1, right or 0.0), min(loss, math.inf if mean is None else mean)
        return 0 < patience <= epoch - best

    @property
    def state(self) -> str:
        """`running`, `finished` or `stopped`, with the step, in words."""
        if self.running:
            return f"running, step {self.step:,}"
        epochs, most = self.options.get("train.epochs"), self.options.get("train.max_steps")
        last = self.evals[-1] if self.evals else {}
        if last and (last.get("epoch") == epochs or (most is not None and last["step"] == most)):
            return f"finished at step {self.step:,}"
        if self.has_stopped_early:
            return f"finished early at step {self.step:,}"
        saved = f", saved at step {self.saved:,}" if 0 < self.saved < self.step else ""
        return f"stopped at step {self.step:,}{saved}" if self.step else "no step yet"


def read_history(place: str, runs_dir: str) -> History:
    """Read the run at a path, or of a name in `runs_dir`. Raises UserError where there is none."""
    folder = _find(place, runs_dir)
    running, notes = is_running(folder), list[str]()  # before its files: a run that ends meanwhile is read again
    options = _read_options(folder / "config.yaml", notes)
    rows = _read_rows(folder / "metrics.jsonl", notes)
    rows = [row for row in rows if isinstance(row.get("step"), int) and row["step"] >= 0]
    rows.sort(key=lambda row: row["step"])
    train, evals, epochs = (tuple(row for row in rows if row.get("kind") == kind) for kind in ("train", "eval", "epoch"))
    if all(row.get("top5") == 100 for row in evals):
        evals = tuple({key: value for key, value in row.items() if key != "top5"} for row in evals)
    if not rows:
        notes.append("no step has been logged yet")
    bad = [row["step"] for row in train if "loss" in row and finite(row["loss"]) is None]
    if bad:
        notes.append(f"{counted(len(bad), 'logged step')} with a loss that is not finite, the first at step {bad[0]:,}")
    starts = tuple(_read_rows(folder / "starts.jsonl", notes)) if (folder / "starts.jsonl").exists() else ()
    saved = max(map(step_of, newest_first(folder / "checkpoints")), default=0)
    return History(folder, options, train, evals, epochs, starts, tuple(notes), running, saved)


def is_running(folder: Path) -> bool:
    """Return whether the process that holds the run's lock is alive.

    On another host: whether it has written metrics within SECONDS_UNTIL_ENDED.
    """
    folder = folder.resolve()
    try:
        owner = folder.with_name(f".{folder.name}.lock").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    found = re.match(r"process (\d+) on (\S+)", owner)
    if not found:
        return False
    if found[2] != socket.gethostname():
        metrics = folder / "metrics.jsonl"
        return metrics.is_file() and time.time() - metrics.stat().st_mtime < SECONDS_UNTIL_ENDED
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _find(place: str, runs_dir: str) -> Path:
    for path in (Path(place), Path(runs_dir) / place):
        folder = path.parent if path.name in ("checkpoints", "config.yaml", "metrics.jsonl") else path
        if any((folder / file).exists() for file in ("config.yaml", "metrics.jsonl", "checkpoints")):
            return folder
    raise UserError(f"{place}: no such run{known_runs(runs_dir)}")


def _read_options(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return flatten(read_yaml(path)[0])
    except (OSError, UserError) as error:
        notes.append(f"its options are unknown: {error}")
        return {}


def _read_rows(path: Path, notes: list[str]) -> list[Row]:
    """The JSON objects of a file, one a line; other lines are counted in `notes`. Beyond MOST_ROWS, training rows are thinned."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        notes.append(f"{path.name}: cannot be read ({error.strerror})")
        return []
    every = max(1, len(lines) // MOST_ROWS)
    rows, bad = [], 0
    for place, line in enumerate(lines):
        if place % every and b'"train"' in line[:20]:
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad += 1
    if bad:
        notes.append(f"{path.name}: left out {counted(bad, 'line')} that are not JSON objects")
    return rows
