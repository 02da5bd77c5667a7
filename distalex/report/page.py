"""The page of one or several runs: one file of HTML with images, numbers, style and script inside."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from distalex import __version__
from distalex.config.config import LABELS, Config
from distalex.config.schema import flatten, shown_value
from distalex.console import bytes_text, duration_text
from distalex.report import curves, mesh
from distalex.report.history import History, Row
from distalex.runs.metrics import finite

if TYPE_CHECKING:
    from distalex.report.learned import ColumnFilters, Learned

MARK = "distalex report"
"""In the head of every page; only a file that has it is replaced."""
TABLE_ROWS = 40
"""Most epochs in the table."""
CELLS = 20
"""Most classes for a table of confusion; of more it is an image. Also most classes whose precision and recall are listed."""


def render(
    runs: Sequence[History],
    columns: Sequence[ColumnFilters] = (),
    learned: Learned | None = None,
    missing: str = "",
    refresh: float | None = None,
) -> str:
    """Render the page of one run, or of several that are compared; it reloads itself every `refresh` seconds.

    columns, learned: what is known of the network of a single run. missing: why something of it is unknown.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("distalex.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["bytes"] = bytes_text
    environment.filters["duration"] = duration_text
    panels = curves.panels_of(runs)
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
        panels=[(f"panel{place}", panel, curves.draw_panel(panel, f"panel{place}")) for place, panel in enumerate(panels)],
        numbers=json.dumps({f"panel{place}": curves.numbers_of(panel) for place, panel in enumerate(panels)}),
        differing=_differing(runs) if single is None else [],
        changed=_options(single) if single else [],
        epochs=_epochs(single) if single else [],
        parts=_shares_of_a_step(single) if single else [],
        drawing=mesh.draw_mesh(single) if single else "",
        exchanges=mesh.exchanges_of(single) if single else [],
        command=_command(single) if single else "",
        columns=columns,
        learned=learned,
        missing=missing,
        confusion=_confusion(learned) if learned else None,
        scored=_scored(learned) if learned else None,
    )


def _data_of(options: Mapping[str, Any]) -> str:
    """Return the name of a run's data, and of a folder of images the folder's."""
    name = str(options.get("data.name", "?"))
    place = options.get("data.train") if name == "beton" else options.get("data.root")
    return str(place) if name in ("beton", "folder", "webdataset") and place else name


def _summary(run: History) -> Row:
    best, last = run.best, run.evals[-1] if run.evals else {}
    speeds = [value for row in run.train if (value := finite(row.get("images_per_second"))) is not None]
    start = run.starts[-1] if run.starts else {}
    options = run.options
    return {
        "name": run.name,
        "state": run.state,
        "top1": finite(last.get("top1")),
        "top5": finite(last.get("top5")),
        "loss": finite(last.get("loss")),
        "best": best["top1"] if best else None,
        "best_epoch": best.get("epoch") if best else None,
        "speed": sorted(speeds)[len(speeds) // 2] if speeds else None,
        "network": f"{options.get('model.name', '?')} network at {options.get('data.image_size', '?')} pixels",
        "data": _data_of(options),
        "tested_on": "validation" if options.get("data.validation") else "test",
        "parallel": start.get("parallel", options.get("parallel", "?")),
        "processes": start.get("processes", "?"),
        "device": start.get("device", "?"),
    }


def _differing(runs: Sequence[History]) -> list[tuple[str, list[str]]]:
    """Options that differ between runs, with the value of each run."""
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.options) if key not in LABELS]
    rows = [(key, [shown_value(run.options.get(key, "absent")) for run in runs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _options(run: History) -> list[tuple[str, str, str]]:
    """Every option of a run with its value, and the default where that is another; those first."""
    defaults = flatten(Config().model_dump(mode="json"))
    rows = [
        (key, shown_value(value), shown_value(defaults[key]) if defaults.get(key, value) != value else "")
        for key, value in run.options.items()
    ]
    return sorted(rows, key=lambda row: not row[2])


def _epochs(run: History) -> list[Row]:
    """All epochs and evaluations, or at most about TABLE_ROWS evenly spread ones with the last: training, test, rate and time of each."""
    trained, tested = ({row["step"]: row for row in rows} for rows in (run.epochs, run.evals))
    rows, before = [], 0
    for step in sorted({*trained, *tested}):
        steps = [row for row in run.train if before < row["step"] <= step]
        images, seconds = _trained_in(steps, before)
        rows.append(
            {
                "epoch": trained.get(step, tested.get(step, {})).get("epoch", "–"),
                "step": step,
                "trained": {key: finite(trained.get(step, {}).get(key)) for key in ("loss", "top1")},
                "tested": {key: finite(tested.get(step, {}).get(key)) for key in ("loss", "top1", "top5")},
                "lr": finite(steps[-1].get("lr")) if steps else None,
                "rate": images / seconds if seconds else None,
                "seconds": seconds or None,
            }
        )
        before = step
    every = max(1, -(-len(rows) // TABLE_ROWS))
    return [row for place, row in enumerate(rows) if place % every == 0 or row is rows[-1]]


def _trained_in(rows: Sequence[Row], before: int) -> tuple[float, float]:
    """Images and seconds of training, without evaluating and saving, in consecutive logged steps after step `before`."""
    images = seconds = 0.0
    for row in rows:
        rate, batch = finite(row.get("images_per_second")), finite(row.get("images"))
        if rate and batch:
            images += batch * (row["step"] - before)
            seconds += batch * (row["step"] - before) / rate
        before = row["step"]
    return images, seconds


def _shares_of_a_step(run: History) -> list[tuple[str, float]]:
    """Shares of the time of a step: waiting for data, waiting for each communication, and the rest, which is computing."""
    rows = run.train[len(run.train) // 10 :]  # the first also compile and cache
    waits = [value for row in rows if (value := finite(row.get("data_wait_fraction"))) is not None]
    if not waits:
        return []
    parts = [("waiting for data", sum(waits) / len(waits))]
    unknown = []
    for purpose in dict.fromkeys(purpose for row in rows for purpose in (row.get("comm_exposed_by") or {})):
        exposed = [value for row in rows if (value := finite((row.get("comm_exposed_by") or {}).get(purpose))) is not None]
        if exposed:
            parts.append((f"waiting for {purpose}", sum(exposed) / len(exposed)))
        else:
            unknown.append(purpose)
    computing = max(0.0, 1.0 - sum(share for _, share in parts))
    including = f" (including waiting for {' and '.join(unknown)}, not measured separately)" if unknown else ""
    return [(f"computing{including}", computing), *parts]


def _command(run: History) -> str:
    """The command that reproduces a run."""
    start = run.starts[-1] if run.starts else {}
    processes, local = (int(finite(start.get(key)) or 1) for key in ("processes", "processes_a_node"))
    words = ["-m", "distalex.train", f"--config={run.folder / 'config.yaml'}", f"--name={run.name}-again"]
    if processes == 1:
        return shlex.join(["python", *words])
    nodes = processes // max(1, local)
    place = ["--standalone"] if nodes <= 1 else [f"--nnodes={nodes}", "--rdzv_backend=c10d", "--rdzv_endpoint=HOST:29400"]
    return shlex.join(["torchrun", *place, f"--nproc_per_node={local}", *words, f"--parallel={start.get('parallel', 'data')}"])


def _confusion(learned: Learned) -> dict[str, Any]:
    """The confusion of up to CELLS classes as rows of (count, share of the row), of more as an image."""
    counts = learned.confusion
    totals = counts.sum(1, keepdims=True).clip(1)
    if len(counts) <= CELLS:
        rows = [
            (name, [(int(count), float(count / total)) for count in row])
            for name, row, total in zip(learned.classes, counts, totals[:, 0], strict=True)
        ]
        return {"rows": rows, "image": "", "pairs": learned.confused()}
    from distalex.report.learned import draw_confusion

    return {"rows": [], "image": draw_confusion(counts / totals), "pairs": learned.confused()}


def _scored(learned: Learned) -> dict[str, Any]:
    """Precision, recall and F1 of each class, or of the CELLS classes of lowest F1, those first; and their means."""
    from torch import from_numpy

    from distalex.evaluate.by_class import score_classes

    scores = score_classes(from_numpy(learned.confusion), learned.classes)
    few = len(scores.classes) <= CELLS
    known = sorted((one for one in scores.classes if one.f1 is not None), key=lambda one: (one.f1, one.recall))
    return {"classes": scores.classes if few else known[:CELLS], "means": scores, "all": few}
