"""Options of `evaluate`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from distalex.config.command import CommandOptions, DataRoot, RunOrNewest, RunsDir, SkipBad
from distalex.config.config import Parallel
from distalex.config.schema import Device, Int


class EvaluateOptions(CommandOptions):
    """Compute exact top-1, top-5, loss and confusion on the test set, or the training set, on any number of processes."""

    usage: ClassVar[str] = "python -m distalex.evaluate [RUN] [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("run",)

    run: RunOrNewest = None
    runs_dir: RunsDir = "runs"
    parallel: Parallel = "data"
    """How processes share the network and the test set, as in `train`."""
    device: Device = "auto"
    data_root: DataRoot = None
    skip_bad: SkipBad = False
    split: Literal["test", "train"] = "test"
    """Images to evaluate on. `train`: the training images without augmentation, which shows overfitting."""
    batch_size: Int | None = Field(None, ge=1)
    """Global batch size. Default: the run's."""
    ten_crop: bool = False
    """Average the softmax outputs over ten crops of each image: the four corners, the centre, and their mirror images
    (Section 4.1)."""
    by_class: bool = False
    """Print precision, recall and F1 of every class as well."""
