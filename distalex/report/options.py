"""Options of `report`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from distalex.config.command import CommandOptions, DataRoot, RunsDir, SkipBad
from distalex.config.schema import Device, Float, Int, Names


class ReportOptions(CommandOptions):
    """Write one self-contained HTML page: curves, confusion, predictions, neighbours, filters, processes; or several runs compared."""

    usage: ClassVar[str] = "python -m distalex.report [RUN …] [--out=FILE.html] [--OPTION=VALUE …]"
    rest: ClassVar[str | None] = "runs"

    runs: Names = ()
    """Runs, by name or folder. The curves of several are drawn into the same panels. Default: the newest run."""
    runs_dir: RunsDir = "runs"
    out: str | None = None
    """Page to write. Default: RUN/report.html; for several runs, report.html in the current folder."""
    watch: bool = False
    """Rewrite the page while a run is training; the page reloads itself."""
    every: Float = Field(10.0, ge=1, le=3600)
    """`watch`: seconds between updates."""
    images: Int = Field(10_000, ge=0)
    """Number of test images for confusion and predictions of a single run; from a larger test set, chosen by the seed.
    0: no predictions and no neighbours."""
    searched: Int = Field(2_000, ge=0)
    """Number of training images to search for nearest neighbours, chosen by the seed. 0: no neighbours."""
    device: Device = "auto"
    data_root: DataRoot = None
    skip_bad: SkipBad = False
