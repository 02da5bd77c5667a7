"""What a run leaves when it ends: its report, and lines on what one has and what to type next."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distalex.config.config import Config
from distalex.config.schema import validate
from distalex.console import Console, bytes_text, duration_text
from distalex.errors import brief
from distalex.export.work import NEEDS
from distalex.report.options import ReportOptions
from distalex.report.work import report_runs
from distalex.runs.metrics import best_evaluation, finite, read_metrics

SHOWN = 500
"""Most test images, and training images searched for neighbours, of the report that a run writes by itself."""


def write_report(folder: Path, device: str) -> str:
    """Write the report of a run that has ended, without printing. Returns where it lies, or in words why there is none.

    Call it on one process, after the processes of the run have parted.
    """
    wanted = {"runs": (str(folder),), "images": SHOWN, "searched": SHOWN, "device": device}
    try:
        with _alone():
            return str(report_runs(validate(ReportOptions, wanted, {}), Console(talks=False)))
    except Exception as error:  # the run is done and saved, whatever its page needs
        return f"not written ({brief(error)})"


@contextmanager
def _alone() -> Iterator[None]:
    """Hide from this process that a launcher started others with it."""
    hidden = {name: os.environ.pop(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def describe_ending(folder: Path, config: Config, seconds: float) -> str:
    """Format what a run that is done has: its folder, time, best and last evaluation and report, and commands that go on from there."""
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if row.get("kind") == "eval"]
    report = write_report(folder, config.device) if config.log.report else ""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    lines = [f"done in {duration_text(seconds)}: {folder} ({bytes_text(size)})"]
    if best := best_evaluation(rows):
        lines.append(f"  best    {_figures(best, config)}{', checkpoints/best.pt' * (folder / 'checkpoints' / 'best.pt').is_file()}")
        lines.append(f"  last    {_figures(rows[-1], config)}")
    if report:
        lines.append(f"  report  {report}")
    return "\n".join([*lines, "next:", *(f"  {command}" for command in next_commands(folder, bool(report) and Path(report).is_file()))])


def _figures(row: dict, config: Config) -> str:
    loss = finite(row.get("loss"))
    figures = f"{config.data.tested_on} top-1 {row['top1']:.2f} %" + (f", loss {loss:.4f}" if loss is not None else "")
    return f"{figures} (step {row['step']:,}, {row['epoch']} of {config.train.epochs} epochs)"


def next_commands(folder: Path, has_report: bool) -> list[str]:
    """Return commands that use the run in a folder, as a shell reads them in the folder that it was trained in."""
    run = shlex.quote(str(folder))
    has_onnx = all(importlib.util.find_spec(name) for name in NEEDS[".onnx"])
    file, picture = (shlex.quote(str(folder / name)) for name in ("network.onnx" if has_onnx else "network.pt2", "predictions.png"))
    return [
        f"python -m distalex.predict {run} --save={picture}",
        f"python -m distalex.evaluate {run}",
        f"python -m distalex.export {run} --out={file}",
        *([] if has_report else [f"python -m distalex.report {run}"]),
    ]
