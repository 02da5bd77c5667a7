"""`python -m distalex.report RUN …`."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distalex.console import Console, bytes_text, note
from distalex.errors import UserError
from distalex.files import refuse_unwritable, write_atomically
from distalex.report.history import History, read_history
from distalex.report.options import ReportOptions
from distalex.report.page import MARK, render
from distalex.runs.checkpoint import newest_run

if TYPE_CHECKING:
    from distalex.report.learned import ColumnFilters, Learned

WAY_OUT = "choose another place with --out=FILE.html"


@dataclass(frozen=True)
class Inspected:
    """What was found with a run's network, or why nothing was."""

    columns: tuple[ColumnFilters, ...] = ()
    learned: Learned | None = None
    note: str = ""
    """Why something is missing."""
    stamp: tuple[Path, int] | None = None
    """The checkpoint's file and time of modification."""


def report_runs(options: ReportOptions, console: Console | None = None) -> Path:
    """Write the page of one or several runs, with `--watch` until none is training; returns its path.

    Raises UserError where a run is missing or the page cannot be written.
    """
    console = console or Console()
    places = options.runs or (newest_run(options.runs_dir, saved=False),)
    if not options.runs:
        note(f"{places[0]}, the newest run")
    runs = [read_history(place, options.runs_dir) for place in places]
    path = Path(options.out) if options.out else (runs[0].folder / "report.html" if len(runs) == 1 else Path("report.html"))
    _require_writable(path)
    inspected = Inspected()
    while True:
        runs = [read_history(place, options.runs_dir) for place in places]
        training = options.watch and any(run.running for run in runs)
        if len(runs) == 1:
            inspected = inspect_network(inspected, runs[0], options, console)
        page = render(runs, inspected.columns, inspected.learned, inspected.note, options.every if training else None)
        with refuse_unwritable(path, "out", WAY_OUT):
            write_atomically(path, page.encode("utf-8", "replace"))
        if not training:
            console.say(f"written: {path} ({bytes_text(path.stat().st_size)})")
            return path
        console.say(f"{time.strftime('%H:%M:%S')}  {path}: {', '.join(f'{run.name} {run.state}' for run in runs)}")
        time.sleep(options.every)


def _require_writable(path: Path) -> None:
    """Raise UserError where the page cannot be written, or a file that is not a page of ours exists there."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out={path}: unknown extension; use a name ending in .html")
    with refuse_unwritable(path, "out", WAY_OUT):
        if path.exists() and MARK not in path.read_bytes()[:600].decode("utf-8", "replace"):
            raise UserError(f"out={path}: exists and is not a page that distalex wrote; choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"out={path}: cannot be written; {WAY_OUT}")


def inspect_network(before: Inspected, run: History, options: ReportOptions, console: Console) -> Inspected:
    """Run the network of the latest checkpoint, unless it is that of `before`; what fails is noted for the page."""
    from distalex.report.learned import filters_of, learn
    from distalex.runs.checkpoint import find
    from distalex.runs.trained import load_trained

    try:
        path = find(str(run.folder), options.runs_dir, best=True)
        stamp = (path, path.stat().st_mtime_ns)
        if stamp == before.stamp:
            return before
        columns = filters_of(load_trained(str(path), options.runs_dir))
    except (UserError, OSError) as error:
        return Inspected(note=str(error))
    if not options.images:
        return Inspected(columns, stamp=stamp)
    try:
        return Inspected(columns, learn(options, str(path), console), stamp=stamp)
    except (UserError, OSError, RuntimeError) as error:  # such as a GPU whose memory the training takes
        return Inspected(columns, note=" ".join(str(error).split())[:300])
