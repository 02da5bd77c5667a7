"""Options of `tune`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distalex.config.command import CommandOptions
from distalex.config.schema import Float, Int, plain_text
from distalex.train.options import TrainOptions


class TuneOptions(CommandOptions):
    """Try learning rates or batch sizes for some steps and suggest one; `tune lr --help` and `tune batch --help` list the options."""

    usage: ClassVar[str] = "python -m distalex.tune lr|batch [--config=NAME] [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("what",)

    what: Literal["lr", "batch"]
    """`lr`: a learning rate; `batch`: the largest batch that fits into memory, and the smallest that is about as fast."""


class TrialOptions(CommandOptions):
    """Options of every trial."""

    sections: ClassVar[tuple[str, ...]] = ("", "model", "data", "optim", "train")

    out: str | None = None
    """JSON file to write the trials to."""


class RateOptions(TrialOptions):
    """Train for some steps with a growing learning rate and suggest one (Smith 2017, range test). Writes the figure and nothing else."""

    usage: ClassVar[str] = """python -m distalex.tune lr [DIR] [--config=NAME] [--save=lr.png] [--OPTION=VALUE …]
torchrun --standalone --nproc_per_node=2 -m distalex.tune lr --config=digits"""
    words: ClassVar[tuple[str, ...]] = ("root",)

    root: str | None = None
    """Folder, archive or table of images, as for `train`."""
    save: str = Field("lr.png", min_length=1)
    """File to draw the loss by learning rate into (.png, .jpg, .pdf or .svg)."""
    least: Float = Field(1e-5, gt=0)
    """Learning rate of the first step."""
    most: Float = Field(10.0, gt=0)
    """Learning rate of the last step; the trial stops before where the loss diverges."""
    steps: Int = Field(300, ge=20, le=10000)
    """Steps of the trial; the rate grows by the same factor in each."""

    def overrides(self) -> Mapping[str, str]:
        """The folder as `train` takes it."""
        return TrainOptions(root=self.root).overrides()

    @model_validator(mode="after")
    def _require_growth(self) -> RateOptions:
        if self.most < 10 * self.least:
            raise ValueError(f"most={plain_text(self.most)}: ten times least={plain_text(self.least)} or more is needed, e.g. --most=10")
        TrainOptions(root=self.root)  # which requires something there
        return self


class BatchOptions(TrialOptions):
    """Train for some steps with growing batches of noise, on one device, and find the largest that fits into its memory."""

    usage: ClassVar[str] = "python -m distalex.tune batch [--config=NAME] [--save=batch.png] [--OPTION=VALUE …]"

    save: str = Field("batch.png", min_length=1)
    """File to draw memory and images/s by batch size into (.png, .jpg, .pdf or .svg)."""
    classes: Int | None = Field(None, ge=2)
    """Number of classes. Default: those of the config's data; 1,000 is assumed where the data are not there to count."""
    most: Int = Field(16384, ge=2)
    """Largest batch to try."""
    seconds: Float = Field(60.0, gt=0)
    """Start no trial after this time; the largest batch is then computed from the memory of those before."""
