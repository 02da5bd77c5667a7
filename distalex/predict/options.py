"""Options of `predict`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distalex.config.schema import Int, Names, Section


class PredictOptions(Section):
    """Options of `predict`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    images: Names = ()
    """Image files, folders of them, patterns such as 'a/*.jpg', or - for the standard input. With none: some of the test set,
    predicted against actual."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN is a name."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    data_root: str | None = None
    """Folder of the data, where it has moved."""
    count: Int = Field(16, ge=1, le=400)
    """Images of the test set to show where no file is named."""
    save: str | None = None
    """Draw the images with their labels into this file (.png, .jpg, .pdf or .svg)."""
    json_lines: bool = False
    """Print one JSON object an image, and nothing else. `--json` for short."""
    csv: bool = False
    """Print a table of name, actual label, five labels and probabilities as CSV, and nothing else."""
    neighbours: Int = Field(0, ge=0, le=100)
    """Tell the labels of so many training images, those whose last hidden layer is nearest (Section 6.1)."""
    searched: Int = Field(2_000, ge=1)
    """`neighbours`: training images that are searched, chosen by the seed."""

    @model_validator(mode="after")
    def _prints_one_thing(self) -> PredictOptions:
        if self.csv and self.json_lines:
            raise ValueError("csv=true and json_lines=true: one of them can be printed; leave one out")
        return self
