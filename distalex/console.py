"""What a person sees: a live bar on a terminal, plain lines in a file; only rank 0 talks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0  # between plain lines


class Console:
    """Says lines and shows progress; silent on every rank but the first."""

    def __init__(self, talks: bool = True) -> None:
        self.talks = talks
        self.rich = RichConsole(file=sys.stdout, highlight=False)
        self.bar: Progress | None = None
        self.tasks: dict[str, Any] = {}
        self.last_plain = time.monotonic()

    def say(self, line: str) -> None:
        """One line, above the bar if there is one."""
        if not self.talks:
            return
        if self.bar is not None:
            self.bar.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def progress(self, what: str, done: int, total: int, details: str = "") -> None:
        """`done` of `total` of the work called `what`."""
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
        """Take the bar of `what` away."""
        if self.bar is not None and what in self.tasks:
            self.bar.remove_task(self.tasks.pop(what))

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show bars meanwhile, where output is a terminal."""
        if not (self.talks and self.rich.is_terminal):
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


def size_text(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


def bytes_text(count: int) -> str:
    """E.g. `31.1 MB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B" if count else "0"
