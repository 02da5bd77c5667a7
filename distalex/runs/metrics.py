"""What a run measures: metrics.jsonl, which is the record."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class MetricsFile:
    """metrics.jsonl: one JSON object a line, flushed. Lines that a full disk refuses are kept and tried again with the next."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = path, say
        self.waiting: list[str] = []

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Numbers that are not finite become null, which JSON has."""
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
                self.say(f"{self.path}: {error.strerror or error}; training goes on, and its lines are written when that is possible again")

    def has_eval(self, step: int) -> bool:
        return self.path.is_file() and any(row["kind"] == "eval" and row["step"] == step for row in read_metrics(self.path))

    def rewind(self, step: int, epoch: int) -> None:
        """Drop what lies after a checkpoint at `step`, with `epoch` epochs done, so that every step stands once."""
        if self.path.is_file():
            kept = [row for row in read_metrics(self.path) if row["step"] <= step and (row["kind"] != "eval" or row["epoch"] <= epoch)]
            temporary = self.path.with_suffix(".partial")
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
            os.replace(temporary, self.path)


def _finite(value: Any) -> Any:
    """None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
