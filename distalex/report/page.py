"""Runs as one page of HTML: images, numbers and styles all inside it, nothing fetched from anywhere."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from distalex import __version__
from distalex.config.config import Config
from distalex.config.schema import flatten, plain_text
from distalex.console import Console
from distalex.errors import UserError
from distalex.files import write_atomically
from distalex.report import curves, mesh
from distalex.report.history import History, Row, number, read_history
from distalex.report.options import ReportOptions

MARK = "distalex report"  # in the head of every page, so that no other file is written over
TABLE_ROWS = 40  # of evaluations
CELLS = 20  # classes whose confusion is a table of numbers and not an image
PLACES = ("name", "runs_dir")  # options that differ between any two runs


@dataclass
class Looked:
    """What was seen through a run's network, or why nothing was, and the checkpoint that it was."""

    columns: Any = ()
    learned: Any = None
    note: str = ""
    stamp: tuple[Any, ...] = field(default=())


def report_runs(options: ReportOptions) -> Path:
    """`python -m distalex.report RUN …`: write the page, once or as long as a run goes on. Raises UserError where a run is missing."""
    console = Console()
    runs = [read_history(place, options.runs_dir) for place in options.runs]
    path = Path(options.out) if options.out else (runs[0].folder / "report.html" if len(runs) == 1 else Path("report.html"))
    _require_ours(path)
    looked = Looked()
    while True:
        runs = [read_history(place, options.runs_dir) for place in options.runs]
        goes_on = options.watch and any(run.running for run in runs)
        if len(runs) == 1:
            looked = _look(looked, runs[0], options, console)
        _write(path, render(runs, looked, options.every if goes_on else None))
        if not goes_on:
            console.say(f"written: {path} ({mesh.in_bytes(path.stat().st_size)})")
            return path
        console.say(f"{time.strftime('%H:%M:%S')}  {path}: {', '.join(f'{run.name} {run.state}' for run in runs)}")
        time.sleep(options.every)


def render(runs: Sequence[History], looked: Looked, refresh: float | None = None) -> str:
    """The page of one run, or of several beside each other; it loads itself anew every `refresh` seconds."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("distalex.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["bytes"] = mesh.in_bytes
    panels = curves.panels(runs)
    single = runs[0] if len(runs) == 1 else None
    return environment.get_template("page.html").render(
        mark=MARK,
        version=__version__,
        style=files("distalex.report").joinpath("page.css").read_text(encoding="utf-8"),
        script=files("distalex.report").joinpath("page.js").read_text(encoding="utf-8"),
        refresh=refresh,
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
        runs=runs,
        summaries=[_summary(run) for run in runs],
        panels=[(f"panel{place}", panel, curves.draw(panel, f"panel{place}")) for place, panel in enumerate(panels)],
        numbers=json.dumps({f"panel{place}": curves.numbers_of(panel) for place, panel in enumerate(panels)}),
        differing=_differing(runs) if single is None else [],
        changed=_options(single) if single else [],
        evaluations=_evaluations(single) if single else [],
        parts=_parts_of_a_step(single) if single else [],
        drawing=mesh.draw(single) if single else "",
        exchanges=mesh.exchanges_of(single) if single else [],
        command=_command(single) if single else "",
        looked=looked,
        confusion=_confusion(looked.learned) if looked.learned else None,
    )


def _require_ours(path: Path) -> None:
    """Raise UserError where something else is in the way."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out={path}: the name of a page is needed, ending in .html")
    try:
        if path.exists() and MARK not in path.read_bytes()[:600].decode("utf-8", "replace"):
            raise UserError(f"out={path}: exists and is not a page that distalex wrote; give another name")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={path}: cannot be written ({error.strerror or error}); give another place with --out=FILE.html") from None
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"out={path}: cannot be written; give another place with --out=FILE.html")


def _write(path: Path, page: str) -> None:
    try:
        write_atomically(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"out={path}: cannot be written ({error.strerror or error}); give another place with --out=FILE.html") from None


def _look(before: Looked, run: History, options: ReportOptions, console: Console) -> Looked:
    """Through the run's network, where its checkpoint is another one than `before`; what cannot be seen is told on the page."""
    from distalex.report.learned import filters_of, learn
    from distalex.runs.checkpoint import find
    from distalex.runs.trained import load_trained

    try:
        path = find(str(run.folder), options.runs_dir)
        stamp = (path, path.stat().st_mtime_ns)
        if stamp == before.stamp:
            return before
        columns = filters_of(load_trained(str(path), options.runs_dir))
    except (UserError, OSError) as error:
        return Looked(note=str(error))
    if not options.images:
        return Looked(columns, stamp=stamp)
    try:
        return Looked(columns, learn(options, str(path), console), stamp=stamp)
    except (UserError, OSError, RuntimeError) as error:  # such as a GPU without room beside the training
        return Looked(columns, note=" ".join(str(error).split())[:300])


def _summary(run: History) -> Row:
    best, last = run.best, run.evals[-1] if run.evals else {}
    speeds = [value for row in run.train if (value := number(row.get("images_per_second"))) is not None]
    start = run.starts[-1] if run.starts else {}
    options = run.options
    return {
        "name": run.name,
        "state": run.state,
        "top1": number(last.get("top1")),
        "top5": number(last.get("top5")),
        "loss": number(last.get("loss")),
        "count": last.get("count"),
        "best": best["top1"] if best else None,
        "best_epoch": best.get("epoch") if best else None,
        "speed": sorted(speeds)[len(speeds) // 2] if speeds else None,
        "network": f"{options.get('model.name', '?')} network, {options.get('data.image_size', '?')} pixels",
        "data": options.get("data.name", "?"),
        "tested_on": "validation" if options.get("data.validation") else "test",
        "parallel": start.get("parallel", options.get("parallel", "?")),
        "processes": start.get("processes", "?"),
        "device": start.get("device", "?"),
    }


def _differing(runs: Sequence[History]) -> list[tuple[str, list[str]]]:
    """Options in which runs differ, and what each has."""
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.options) if key not in PLACES]
    rows = [(key, [plain_text(run.options.get(key, "absent")) for run in runs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _options(run: History) -> list[tuple[str, str, str]]:
    """Every option of a run, with the default where it has another value; those first."""
    defaults = flatten(Config().model_dump(mode="json"))
    rows = [
        (key, plain_text(value), plain_text(defaults.get(key, "")) if defaults.get(key, value) != value else "")
        for key, value in run.options.items()
    ]
    return sorted(rows, key=lambda row: not row[2])


def _evaluations(run: History) -> list[Row]:
    """All, or some of very many, with the last."""
    every = -(-len(run.evals) // TABLE_ROWS)
    return [row for place, row in enumerate(run.evals) if place % max(1, every) == 0 or row is run.evals[-1]]


def _parts_of_a_step(run: History) -> list[tuple[str, float]]:
    """What the time goes into, as shares: waiting for data, for each exchange, and the rest, which is computing."""
    rows = run.train[len(run.train) // 10 :]  # the first ones also compile
    waits = [value for row in rows if (value := number(row.get("data_wait_fraction"))) is not None]
    if not waits:
        return []
    parts = [("waiting for data", sum(waits) / len(waits))]
    unknown = []
    for purpose in dict.fromkeys(purpose for row in rows for purpose in (row.get("comm_exposed_by") or {})):
        exposed = [value for row in rows if (value := number((row.get("comm_exposed_by") or {}).get(purpose))) is not None]
        if exposed:
            parts.append((f"waiting for {purpose}", sum(exposed) / len(exposed)))
        else:
            unknown.append(purpose)
    computing = max(0.0, 1.0 - sum(share for _, share in parts))
    apart = f", and waiting for {' and '.join(unknown)}, which is not known apart" if unknown else ""
    return [(f"computing{apart}", computing), *parts]


def _command(run: History) -> str:
    """What trains the same again."""
    start = run.starts[-1] if run.starts else {}
    processes, local = (int(number(start.get(key)) or 1) for key in ("processes", "processes_a_node"))
    words = ["-m", "distalex.train", f"--config={run.folder / 'config.yaml'}", f"--name={run.name}-again"]
    if processes == 1:
        return shlex.join(["python", *words])
    nodes = processes // max(1, local)
    place = ["--standalone"] if nodes <= 1 else [f"--nnodes={nodes}", "--rdzv_backend=c10d", "--rdzv_endpoint=HOST:29400"]
    return shlex.join(["torchrun", *place, f"--nproc_per_node={local}", *words, f"--parallel={start.get('parallel', 'data')}"])


def _confusion(learned: Any) -> dict[str, Any]:
    """Few classes as rows of (count, share of the row), many as an image."""
    counts = learned.confusion
    totals = counts.sum(1, keepdims=True).clip(1)
    if len(counts) <= CELLS:
        rows = [
            (name, [(int(count), float(count / total)) for count in row])
            for name, row, total in zip(learned.classes, counts, totals[:, 0], strict=True)
        ]
        return {"rows": rows, "image": "", "pairs": learned.confused()}
    from distalex.report.learned import drawn_confusion

    return {"rows": [], "image": drawn_confusion(counts / totals), "pairs": learned.confused()}
