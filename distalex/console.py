"""Output for people: progress bars on a terminal, plain lines in a file, tables, sizes and counts. Only rank 0 prints."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress where output is not a terminal."""


class Console:
    """Print lines and show progress; silent where `talks` is false, as on every rank but the first."""

    def __init__(self, talks: bool = True) -> None:
        self.talks = talks
        self.rich = RichConsole(file=sys.stdout, highlight=False)
        self.bar: Progress | None = None
        self.tasks: dict[str, Any] = {}
        self.last_plain = time.monotonic()

    def say(self, line: str) -> None:
        """Print one line, above the progress bar if there is one."""
        if not self.talks:
            return
        if self.bar is not None:
            self.bar.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def progress(self, what: str, done: int, total: int, details: str = "") -> None:
        """Report `done` of `total` of the work named `what`: on the bar, or as a line at most every PLAIN_SECONDS."""
        if not self.talks:
            return
        if self.bar is not None:
            if what not in self.tasks:
                self.tasks[what] = self.bar.add_task(what, total=total, details="")
            self.bar.update(self.tasks[what], completed=done, total=total, details=details)
        elif time.monotonic() - self.last_plain > PLAIN_SECONDS:
            self.last_plain = time.monotonic()
            print(f"{what}: {done:,}/{total:,} {details}".rstrip(), flush=True)

    def done(self, what: str) -> None:
        """Remove the progress bar of `what`."""
        if self.bar is not None and what in self.tasks:
            self.bar.remove_task(self.tasks.pop(what))

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show progress bars inside the block on a terminal, or in a notebook with ipywidgets; elsewhere `progress` prints lines."""
        in_notebook = self.rich.is_jupyter and find_spec("ipywidgets") is not None
        if not (self.talks and (self.rich.is_terminal or in_notebook)):
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[details]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.rich, expand=True) as self.bar:
            try:
                yield
            finally:
                self.bar, self.tasks = None, {}


def note(line: str, beside: bool = False) -> None:
    """Print a line on rank 0, before a console is open; on stderr if `beside` results that a program reads from stdout."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr if beside else sys.stdout, flush=True)


def bytes_text(count: float) -> str:
    """Format a number of bytes in decimal units, e.g. `31.1 MB`; `0` and whole bytes below 1,000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} B" if count else "0"


def duration_text(seconds: float) -> str:
    """Format a time, e.g. `3.1 s`, `45 s`, `2 min 05 s` or `1 h 02 min`; `?` for NaN."""
    if math.isnan(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def counted(count: int, noun: str, several: str = "") -> str:
    """Format a count with its noun, e.g. `1 step` and `2,000 steps`; `several` where its plural takes more than an s."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Format rows of text as a table: the columns numbered in `left` (negative from the end) flush left, the others flush right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    flush = {number % len(widths) for number in left}
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - cell_len(cell))  # a Chinese letter is as wide as two of these
            cells.append(cell + gap if number in flush else gap + cell)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def shortened(text: str, width: int, middle: bool = False) -> str:
    """Return `text`, or if it is wider than `width` letters, its start and `…`; with `middle` its start, `…` and its end.

    A letter that a terminal draws as wide as two counts as two.
    """
    if cell_len(text) <= width:
        return text
    end = text[-(width // 2) :] if middle else ""
    while cell_len(end) > width // 2:
        end = end[1:]
    return set_cell_size(text, width - 1 - cell_len(end)).rstrip() + "…" + end
