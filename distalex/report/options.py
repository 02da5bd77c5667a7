"""Options of `report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distalex.config.schema import Float, Int, Names, Section


class ReportOptions(Section):
    """Options of `report`."""

    runs: Names = Field(min_length=1)
    """Runs (folders or names). Several are laid over each other."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    out: str | None = None
    """Page to write. Default: RUN/report.html, of several runs report.html here."""
    watch: bool = False
    """Write it again and again while a run goes on; the page loads itself anew meanwhile."""
    every: Float = Field(10.0, ge=1, le=3600)
    """`watch`: seconds between two pages."""
    images: Int = Field(10_000, ge=0)
    """Test images that the network of a single run looks at, for confusion and predictions; of more, so many are chosen by the seed.
    0: none, and no neighbours."""
    searched: Int = Field(2_000, ge=0)
    """Training images among which neighbours are searched; chosen by the seed. 0: no neighbours."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    data_root: str | None = None
    """Folder of the data, where it has moved."""
