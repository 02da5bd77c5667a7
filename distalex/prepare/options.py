"""Options of `prepare`, `prepare check` and `prepare show`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distalex.config.schema import Float, Int, Section


class PrepareOptions(Section):
    """Options of `prepare`."""

    source: Literal["auto", "cifar10", "cifar100", "digits", "imagenet", "folder", "webdataset", "torchvision", "synthetic"] = "auto"
    """What to prepare. `auto`, `folder` and `imagenet` recognise by content what lies at `root`."""
    root: str | None = None
    """What holds the images: a folder of CLASS/*.jpg, or of train/ and test/ with such; a tar archive or a folder of such; WebDataset's
    shards (part-{000..009}.tar); CIFAR's pickles; a table of path,label (.csv, .tsv, .parquet)."""
    dataset: str | None = None
    """`torchvision`: its name of the set, e.g. Flowers102."""
    labels: str | None = None
    """File with the classes of ImageNet's validation images, where it does not lie beside them."""
    out: str | None = None
    """File to write, FILE.beton. Where there is a test set, it goes to FILE.test.beton. Default: where `train` looks for it."""
    split: Literal["both", "train", "test"] = "both"
    """Which split to write into FILE.beton."""
    size: Int | None = Field(None, ge=1, le=1024)
    """Side in pixels of the stored square (Section 2: 256). Default: 32 for CIFAR, 8 for digits, 256 for folders, 224 for synthetic."""
    resize: Literal["short_side", "max_side"] = "short_side"
    """`short_side` is scaled to `size` and the centre kept, as in the paper; `max_side`: the longer side is, and the whole image kept
    on a black square."""
    encoding: Literal["raw", "jpg", "mixed"] = "raw"
    """`raw` reads fastest; `jpg` takes a ninth of the space at 256x256, two fifths at 32x32; `mixed` is half of each."""
    quality: Int = Field(90, ge=1, le=100)
    """Quality of JPEG."""
    holdout: Float = Field(0.0, ge=0, lt=1)
    """Share of a set without test images that goes to FILE.test.beton; 0 writes all images into FILE.beton."""
    per_file: Int | None = Field(None, ge=1)
    """Spread a split over files of at most so many images, FILE-00000-of-00013.beton and so on; preparing that was stopped
    goes on with those that are missing."""
    skip_bad: bool = False
    """Leave unreadable images out, count and list them, instead of stopping at the first."""
    workers: Int = Field(0, ge=0, le=256)
    """Writing processes. 0: one a core."""
    overwrite: bool = False
    """Replace a file that exists."""


class CheckOptions(Section):
    """Options of `prepare check`."""

    file: str = Field(min_length=1)
    """The prepared file, FILE.beton, every byte of which is compared with its checksum."""


class ShowOptions(Section):
    """Options of `prepare show`, besides those of `train` that describe the data."""

    out: str = Field("contact-sheet.png", min_length=1)
    """Image to draw (.png, .jpg, .pdf or .svg)."""
    count: Int = Field(8, ge=1, le=100)
    """Images of the training set, chosen by the seed."""
    views: Int = Field(6, ge=1, le=50)
    """Epochs across, from the first, each with what it sees of the images."""
