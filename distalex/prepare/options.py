"""Options of `prepare`, `prepare check` and `prepare show`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from distalex.config.choices import OneOf
from distalex.config.command import CommandOptions
from distalex.config.schema import Float, Int, Pairs, nearest

AUTO = ("auto", "Whatever lies at `root`, recognised by content, as with `folder`.")


KINDS = OneOf("data/sources", also=(AUTO,), without=("beton",))


class PrepareOptions(CommandOptions):
    """Write images into .beton files, verified and atomic. `train` does this by itself for a named data set."""

    usage: ClassVar[str] = """python -m distalex.prepare [DIR|SOURCE [DIR]] [--out=FILE.beton] [--dry_run] [--OPTION=VALUE …]
python -m distalex.prepare check FILE.beton
python -m distalex.prepare show [FILE.beton] [--out=FILE.png] [--config=NAME] [--OPTION=VALUE …]"""
    words: ClassVar[tuple[str, ...]] = ("source", "root")
    short: ClassVar[Mapping[str, str]] = {
        f"data.{name}": name for name in ("root", "dataset", "labels", "columns", "class_from", "resize", "holdout", "skip_bad")
    }  # as messages and `train` name them

    source: Annotated[str, KINDS] = "auto"
    """Data set, or kind of source, to prepare; or what holds the images, as `root`."""
    root: str | None = None
    """What holds the images: a folder of CLASS/*.jpg, or of train/ and test/ with such folders; a tar or zip archive or a folder of
    archives; WebDataset's shards (part-{000..009}.tar); a table of path,label (.csv, .tsv, .json, .jsonl, .parquet); and the layouts of
    many published sets."""
    dataset: str | None = None
    """`torchvision`: the set's name in torchvision, e.g. Flowers102."""
    labels: str | None = None
    """Table with the classes of the images, where it does not lie beside them or several do."""
    columns: Pairs | None = None
    """Columns of a table of images: `path:NAME,label:NAME` and perhaps `split:NAME`."""
    class_from: Literal["auto", "top_folder", "last_folder", "file_name"] = "auto"
    """Where the class stands in an image's path; see `data.class_from`."""
    dry_run: bool = False
    """Print what is recognised, and write nothing."""
    out: str | None = None
    """File to write, FILE.beton; test images go to FILE.test.beton. Default: where `train` finds them."""
    split: Literal["both", "train", "test"] = "both"
    """Split to write to FILE.beton."""
    size: Int | None = Field(None, ge=1, le=1024)
    """Height and width of the stored images, in pixels (Section 2: 256). Default: 32 for CIFAR, 8 for digits, 224 for synthetic, else
    256."""
    resize: Literal["short_side", "max_side"] = "short_side"
    """Side that is scaled to `size`. `short_side`: the centre square is kept, as in the paper; `max_side`: the long side, and the whole
    image is kept on a black square."""
    encoding: Literal["raw", "jpg", "mixed"] = "raw"
    """How images are stored. `raw` reads fastest; `jpg` takes a ninth of the space at 256x256, two fifths at 32x32; `mixed`: half of
    the images each."""
    quality: Int = Field(90, ge=1, le=100)
    """JPEG quality."""
    holdout: Float = Field(0.0, ge=0, lt=1)
    """Fraction of each class that goes to FILE.test.beton, of a set without test images. 0: all images go to FILE.beton."""
    per_file: Int | None = Field(None, ge=1)
    """Largest number of images in a file; a larger split is spread over FILE-00000-of-00013.beton and so on. If interrupted, run the
    same command again: it writes the files that are missing."""
    skip_bad: bool = False
    """Skip, count and list unreadable images, instead of stopping at the first."""
    workers: Int = Field(0, ge=0, le=256)
    """Writing processes. 0: one per core."""
    overwrite: bool = False
    """Replace existing files."""

    @model_validator(mode="before")
    @classmethod
    def _a_folder_alone_means_that_folder(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("source") in (None, "beton", *KINDS.meanings):
            return values
        given = str(values["source"])
        if not os.path.exists(given) and not set("/*{") & set(given):
            kinds = list(KINDS.meanings)
            raise ValueError(f"source={given}: no such file or folder, and must be one of {', '.join(kinds)}{nearest(given, kinds)}")
        if values.get("root") is not None:
            raise ValueError(f"{given}: is what to prepare, and so is root={values['root']}; give one of them")
        return {**values, "source": "auto", "root": given}


class CheckOptions(CommandOptions):
    """Compare every byte of a prepared file with its checksums, and print what it holds."""

    usage: ClassVar[str] = "python -m distalex.prepare check FILE.beton"
    words: ClassVar[tuple[str, ...]] = ("file",)

    file: str = Field(min_length=1)
    """Prepared file, FILE.beton; every byte is compared with its checksum."""


class ShowOptions(CommandOptions):
    """Draw a contact sheet: stored images with their labels, and how training augments each in its first epochs."""

    usage: ClassVar[str] = "python -m distalex.prepare show [FILE.beton] [--out=FILE.png] [--config=NAME] [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("file",)
    sections: ClassVar[tuple[str, ...]] = ("data",)

    file: str | None = None
    """A prepared file to draw from, FILE.beton; short for --data.name=beton --data.train=FILE.beton."""

    out: str = Field("contact-sheet.png", min_length=1)
    """Figure to draw (.png, .jpg, .pdf or .svg)."""
    count: Int = Field(8, ge=1, le=100)
    """Training images to draw, one per row, chosen by the seed."""
    epochs: Int = Field(6, ge=1, le=50)
    """Epochs to draw, one per column, with the images as they are augmented in each."""

    @model_validator(mode="after")
    def _draws_a_prepared_file(self) -> ShowOptions:
        if self.file is not None and not self.file.endswith(".beton"):
            raise ValueError(f"file={self.file}: not a prepared file; give FILE.beton, or a data set with --data.name=NAME")
        return self

    def overrides(self) -> Mapping[str, str]:
        """The file as `data.name` and `data.train`; one process draws, whatever the config trains on."""
        named = {} if self.file is None else {"data.name": "beton", "data.train": self.file}
        return {"parallel": "none", **named}
