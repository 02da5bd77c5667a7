"""Options of `evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distalex.config.config import Parallel
from distalex.config.schema import Int, Section


class EvaluateOptions(Section):
    """Options of `evaluate`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    parallel: Parallel = "data"
    """How the processes share the network and the test set, as in `train`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    data_root: str | None = None
    """Folder of the data, where it has moved."""
    batch_size: Int | None = Field(None, ge=1)
    """Images of one batch over all processes. Default: the run's."""
    ten_crop: bool = False
    """Take the mean of the soft-max outputs on ten views of each image: the four corners, the centre, and their mirror
    images (Section 4.1)."""
