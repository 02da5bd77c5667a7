"""A run as Python sees it: its folder, results, metrics, network and page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalex.errors import UserError
from distalex.runs.checkpoint import find
from distalex.runs.metrics import finite, read_metrics

if TYPE_CHECKING:
    from distalex.api.classifier import Classifier, Predictions
    from distalex.evaluate.evaluation import Evaluation


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """A run that `fit` trained. A notebook shows its figures and curves."""

    folder: Path
    """The run's folder (docs/run-directory.md)."""
    step: int
    """Optimizer steps done."""
    evaluation: Evaluation | None
    """The last evaluation: loss, top1, top5 in percent, count, confusion; None of a run stopped before one, or opened again."""

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.folder)!r}, step {self.step:,}, {self._result()})"

    def _result(self) -> str:
        """Format the top-1 of the last evaluation."""
        tested = self.points("top1", "eval")
        return f"top-1 {tested[-1][1]:.2f} %" if tested else "stopped, not evaluated"

    @property
    def name(self) -> str:
        """Name of the run, the last part of its folder."""
        return self.folder.name

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, in order: `kind` is train, epoch or eval. `pandas.DataFrame(run.metrics)` is a table of them."""
        path = self.folder / "metrics.jsonl"
        return read_metrics(path) if path.is_file() else []

    def points(self, key: str, kind: str = "train") -> list[tuple[int, float]]:
        """Return pairs of step and value of one measure in the rows of a kind; rows without a finite value are left out."""
        return [(row["step"], value) for row in self.metrics if row.get("kind") == kind and (value := finite(row.get(key))) is not None]

    def values(self, key: str, kind: str = "train") -> tuple[list[int], list[float]]:
        """Return the steps and values of one measure, e.g. `loss`, to plot; rows without a finite value are left out.

        Raises UserError where no row of `kind` has it.
        """
        pairs = self.points(key, kind)
        if not pairs:
            rows = [row for row in self.metrics if row.get("kind") == kind]
            has = ", ".join(sorted({name for row in rows for name in row if finite(row[name]) is not None})) or "nothing"
            raise UserError(f"{key}: no row of kind {kind!r} in {self.folder / 'metrics.jsonl'} has it; there is {has}")
        return [step for step, _ in pairs], [value for _, value in pairs]

    @cached_property
    def net(self) -> Classifier:
        """The trained network, opened as `distalex.load` does."""
        from distalex.api.classifier import load

        return load(self.folder)

    def predict(self, images: Any, top: int = 5) -> Predictions:
        """Predict images with the trained network; see `Classifier.predict`."""
        return self.net.predict(images, top)

    def report(self, **options: Any) -> Page:
        """Write the run's page, RUN/report.html, which a notebook shows; options as of `python -m distalex.report`. Raises UserError."""
        from distalex.config.schema import validate
        from distalex.report.options import ReportOptions
        from distalex.report.work import report_runs

        return Page(report_runs(validate(ReportOptions, {"runs": (str(self.folder),), **options}, {})))

    def _repr_png_(self) -> bytes | None:
        """Loss and top-1 over steps, for a notebook."""
        return draw_curves(self)

    def _repr_html_(self) -> str:
        """The run's figures and curves, for a notebook."""
        png = draw_curves(self)
        picture = f'<br><img src="data:image/png;base64,{base64.b64encode(png).decode()}">' if png else ""
        last = escape(self.evaluation.describe() if self.evaluation else self._result())
        return f"<b>{escape(self.name)}</b>: step {self.step:,}, {last}<br>{escape(str(self.folder))}{picture}"


@dataclass(frozen=True)
class Page:
    """A report, which a notebook shows in a frame."""

    path: Path
    """Its HTML file, self-contained."""

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="600" style="border:0"></iframe>'


STYLES = ("-", "--", "-.", ":")
"""Line styles, in turn, of runs whose curves may coincide."""


LEAST = 1e-8
"""What equal losses are drawn to differ by, as 0 has no logarithm."""


def draw_curves(*runs: Any, runs_dir: str | os.PathLike[str] = "runs", **named: Any) -> bytes | None:
    """Draw training loss and test top-1 of runs over steps into the same axes, as PNG; None where nothing was logged yet.

    Of several runs, a third panel shows by how much their losses differ from those of the first, on a logarithmic scale.

    Args:
        runs: runs, their names in `runs_dir` or folders, or networks from `load`.
        runs_dir: folder of the runs.
        named: runs by the name to draw them under, e.g. `draw_curves(one=run, columns=other)`.

    Raises:
        UserError: there is no such run.
    """
    from matplotlib.figure import Figure

    shown = {run.name: run for run in (open_run(run, runs_dir) for run in runs)}
    shown |= {name: open_run(run, runs_dir) for name, run in named.items()}
    several = len(shown) > 1
    figure = Figure(figsize=(12 if several else 8, 2.9), layout="constrained")
    panels = figure.subplots(1, 3 if several else 2)
    for place, (name, run) in enumerate(shown.items()):
        width = 1.5 + 1.6 * (len(shown) - 1 - place)  # the first is the widest, so that none hides another
        for axes, key in zip(panels, ("loss", "top1"), strict=False):
            if trained := run.points(key):
                label = name if several else "training"
                axes.plot(
                    *zip(*trained, strict=True), STYLES[place % len(STYLES)], color=f"C{place}", linewidth=width, alpha=0.6, label=label
                )
            if tested := run.points(key, "eval"):
                label = "" if several else "test"
                axes.plot(*zip(*tested, strict=True), "o--", color=f"C{place}", markersize=5, label=label)
    panels[0].set(xlabel="step", ylabel="loss")
    panels[1].set(xlabel="step", ylabel="top-1 (%)")
    if several:
        _draw_differences(panels[2], shown)
        figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=6)
    elif panels[0].lines:
        panels[0].legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue() if any(axes.lines for axes in panels) else None


def _draw_differences(axes: Any, shown: Mapping[str, TrainedRun]) -> None:
    """Draw by how much each run's training loss differs from the first one's."""
    (first, one), *others = shown.items()
    expected = dict(one.points("loss", "train"))
    for place, (_, run) in enumerate(others, 1):
        apart = [(step, max(abs(loss - expected[step]), LEAST)) for step, loss in run.points("loss", "train") if step in expected]
        if apart:
            axes.plot(*zip(*apart, strict=True), STYLES[place % len(STYLES)], color=f"C{place}")
    axes.set(xlabel="step", ylabel=f"difference of the loss to {first}", yscale="log")
    axes.set_ylim(bottom=LEAST)


def open_run(place: Any, runs_dir: str | os.PathLike[str] = "runs") -> TrainedRun:
    """Open a run that was trained before, by its name in `runs_dir` or its folder; a run or a network from `load` stands for itself.

    Raises UserError where there is none.
    """
    if isinstance(place, TrainedRun):
        return place
    path = getattr(place, "path", place)  # of a network
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(f"{place!r:.80}: a run, its folder or its name is needed")
    found = Path(find(os.path.expanduser(os.fspath(path)), os.fspath(runs_dir)))
    folder = found.parent.parent
    rows = read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    return TrainedRun(folder, max((row["step"] for row in rows), default=0), None)
