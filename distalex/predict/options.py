"""Options of `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from distalex.config.command import CommandOptions, DataRoot, RunOrNewest, RunsDir, SkipBad
from distalex.config.schema import Device, Int, Names


class PredictOptions(CommandOptions):
    """Predict labels and probabilities of images; with no image, of some test images, beside their actual labels."""

    usage: ClassVar[str] = "python -m distalex.predict [RUN] [IMAGE …] [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("run",)
    rest: ClassVar[str | None] = "images"
    short: ClassVar[Mapping[str, str]] = {"json": "json_lines"}

    run: RunOrNewest = None
    images: Names = ()
    """Image files, folders, patterns such as 'a/*.jpg', or - for standard input. Default: some test images, chosen by the seed."""
    runs_dir: RunsDir = "runs"
    device: Device = "auto"
    data_root: DataRoot = None
    skip_bad: SkipBad = False
    count: Int = Field(16, ge=1, le=400)
    """Number of test images if no image is named."""
    save: str | None = None
    """Draw the images with their labels into this file (.png, .jpg, .pdf or .svg)."""
    json_lines: bool = False
    """Print one JSON object per image and nothing else. Short: --json."""
    csv: bool = False
    """Print CSV with name, actual label and the top-5 labels and probabilities, and nothing else."""
    neighbours: Int = Field(0, ge=0, le=100)
    """Number of nearest training images to print the labels of, by Euclidean distance in the last hidden layer (Section 6.1)."""
    searched: Int = Field(2_000, ge=1)
    """`neighbours`: number of training images to search, chosen by the seed."""

    @model_validator(mode="after")
    def _prints_one_thing(self) -> PredictOptions:
        if self.csv and self.json_lines:
            raise ValueError("csv=true and json_lines=true: only one format can be printed; remove one")
        return self
