"""metrics.jsonl, the record of what a run measures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from distalex.files import write_atomically

WRITTEN = {"kind": str, "step": int, "epoch": int}
"""Keys that every row has, and their types."""


class MetricsFile:
    """metrics.jsonl: one JSON object per line, flushed. Lines that a full disk refuses wait in memory and are retried with the next."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = path, say
        self.waiting: list[str] = []

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Append a line of `kind` ("train", "epoch" or "eval"). Numbers that are not finite become null, as JSON has no others."""
        self.waiting.append(json.dumps({"kind": kind, **_finite(values)}) + "\n")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = self.path.stat().st_size if self.path.exists() else 0
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write("".join(self.waiting))
            except OSError:
                os.truncate(self.path, size)  # no half line stays
                raise
            self.waiting.clear()
        except OSError as error:
            if len(self.waiting) == 1:
                self.say(f"{self.path}: {error.strerror or error}; training continues, and these lines are retried with the next ones")

    def has_eval(self, step: int) -> bool:
        """Whether an evaluation at `step` is logged already."""
        return self.path.is_file() and any(row["kind"] == "eval" and row["step"] == step for row in self._rows())

    def rewind(self, step: int, epoch: int) -> None:
        """Drop the lines after a checkpoint at `step` with `epoch` epochs done, so that every step is logged once."""
        if self.path.is_file():
            kept = [row for row in self._rows() if row["step"] <= step and (row["kind"] == "train" or row["epoch"] <= epoch)]
            write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def _rows(self) -> list[dict[str, Any]]:
        """The rows in the file that this program wrote, whatever else a crash or an editor left in it."""
        found: list[Any] = read_metrics(self.path)
        return [row for row in found if isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in WRITTEN.items())]


def _finite(value: Any) -> Any:
    """`value` with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a metrics.jsonl, in order; lines that are not JSON, such as one cut off by a crash, are skipped."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def best_evaluation(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the evaluation among rows with the highest top-1, of equal ones that with the lowest loss; None without any."""

    def goodness(row: dict[str, Any]) -> tuple[float, float]:
        loss = finite(row.get("loss"))
        return row["top1"], -math.inf if loss is None else -loss

    return max((row for row in rows if finite(row.get("top1")) is not None), key=goodness, default=None)


def finite(value: Any) -> float | None:
    """The number in a field of a row, or None where the field is absent, null or no finite number (a bool is none)."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # of an integer with hundreds of digits
        return None
