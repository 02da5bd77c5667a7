"""A run as Python sees it: its folder, results, metrics, network and page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalex.errors import UserError
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
    """The last evaluation: loss, top1, top5 in percent, count, confusion; None where the run was stopped before one."""

    def __repr__(self) -> str:
        result = f"top-1 {self.evaluation.top1:.2f} %" if self.evaluation else "stopped, not evaluated"
        return f"TrainedRun({str(self.folder)!r}, step {self.step:,}, {result})"

    @property
    def name(self) -> str:
        """Name of the run, the last part of its folder."""
        return self.folder.name

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, in order: `kind` is train, epoch or eval. `pandas.DataFrame(run.metrics)` is a table of them."""
        path = self.folder / "metrics.jsonl"
        return read_metrics(path) if path.is_file() else []

    def values(self, key: str, kind: str = "train") -> tuple[list[int], list[float]]:
        """Return the steps and values of one measure, e.g. `loss`, to plot; rows without a finite value are left out.

        Raises UserError where no row of `kind` has it.
        """
        rows = [row for row in self.metrics if row.get("kind") == kind]
        pairs = [(row["step"], value) for row in rows if (value := finite(row.get(key))) is not None]
        if not pairs:
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
        last = escape(self.evaluation.describe()) if self.evaluation else "stopped before an evaluation"
        return f"<b>{escape(self.name)}</b>: step {self.step:,}, {last}<br>{escape(str(self.folder))}{picture}"


@dataclass(frozen=True)
class Page:
    """A report, which a notebook shows in a frame."""

    path: Path
    """Its HTML file, self-contained."""

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="600" style="border:0"></iframe>'


def draw_curves(*runs: TrainedRun) -> bytes | None:
    """Draw loss and top-1 of runs over steps into the same axes, as PNG; None where nothing was logged yet."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    drawn = False
    for axes, (key, label) in zip(figure.subplots(1, 2), {"loss": "loss", "top1": "top-1 (%)"}.items(), strict=True):
        for place, run in enumerate(runs):
            for kind, style in (("train", "-"), ("eval", "o--")):
                try:
                    steps, values = run.values(key, kind)
                except UserError:
                    continue
                words = "training" if kind == "train" else "test"
                axes.plot(steps, values, style, color=f"C{place}", markersize=4, label=f"{run.name}, {words}" if len(runs) > 1 else words)
                drawn = True
        axes.set(xlabel="step", ylabel=label)
        if axes.lines:
            axes.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue() if drawn else None
