"""Options of the images and how they are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distalex.config.schema import Float, Floats, Int, Section, plain_text


class DataConfig(Section):
    """The images and how they are read."""

    name: Literal["cifar10", "cifar100", "digits", "imagenet", "folder", "webdataset", "torchvision", "synthetic", "beton"] = "cifar10"
    """The data set. `folder` and `imagenet`: whatever lies at `data.root`, recognised by content (docs/data.md). `webdataset`: tar
    shards of KEY.jpg and KEY.cls. `torchvision`: its `data.dataset`. `beton`: prepared files, `data.train` and `data.test`."""
    root: str | None = None
    """Folder, tar archive or table that holds the data. Default: the environment's DISTALEX_DATA, then `data/`, then a download."""
    dataset: str | None = None
    """torchvision's name of the set, with `data.name=torchvision`, e.g. Flowers102."""
    labels: str | None = None
    """File with the classes of ImageNet's validation images, where it does not lie beside them."""
    train: str | None = None
    """A prepared training file, with `data.name=beton`. Of a set spread over files, FILE.beton stands for FILE-00000-of-….beton."""
    test: str | None = None
    """A prepared test file, with `data.name=beton`. Default: what `prepare` wrote beside `data.train`."""
    image_size: Int = Field(224, ge=32, le=256)
    """Side of the square that the network sees, in pixels (Section 2: 224). Below 64 only the `cifar` network has an output."""
    stored_size: Int | None = Field(None, ge=1, le=1024)
    """Side of the square kept in the prepared file, in pixels (Section 2: short side 256, then the central square).
    Default: 32 for CIFAR, 8 for digits, 256 for folders, `image_size` for synthetic."""
    resize: Literal["short_side", "max_side"] = "short_side"
    """`short_side` is scaled to `stored_size` and the centre kept, as in the paper; `max_side`: the longer side is, and the whole image
    kept on a black square."""
    encoding: Literal["raw", "jpg", "mixed"] = "raw"
    """How images are kept in the prepared file. `raw` reads fastest; `jpg` takes a ninth of the space at 256x256, two fifths at 32x32;
    `mixed` is half of each."""
    quality: Int = Field(90, ge=1, le=100)
    """Quality of JPEG."""
    skip_bad: bool = False
    """Leave unreadable images out of the prepared file and list them, instead of stopping at the first."""
    augment: Literal["none", "crop", "flip_crop", "paper", "resized_crop"] = "flip_crop"
    """What of an image is seen. `none`: the centre window; `crop`: a random window; `flip_crop`: and mirror; `paper` adds the PCA
    colour noise (Section 4.1); `resized_crop`: a window of random area and shape, and mirror (Szegedy et al. 2015). Keyed by seed,
    epoch and sample, as are the options below, which go with each of these."""
    scale: Floats = (0.08, 1.0)
    """`resized_crop`: least and largest area of the window, as shares of the stored image. Its shape is 3/4 to 4/3."""
    colour: Literal["measured", "imagenet"] = "measured"
    """`paper`: whose principal components the noise follows, those of the training set or the 2012 code's of ImageNet."""
    rotate: Float = Field(0.0, ge=0, le=45)
    """Largest angle in degrees by which a view is turned about its centre, either way; black comes in from outside."""
    cutout: Float = Field(0.0, ge=0, le=1)
    """Side of a square of the mean colour at a random place, which may reach over the edge, as a share of the view's
    (DeVries & Taylor 2017: 16 of 32 pixels). 0: none."""
    mixup: Float = Field(0.0, ge=0, le=100)
    """Mix each view, and its label, with another sample's, by shares drawn from Beta(mixup, mixup) (Zhang et al. 2018: 0.2). 0: off."""
    cutmix: Float = Field(0.0, ge=0, le=100)
    """Put a box of another sample's view into each, of an area drawn from Beta(cutmix, cutmix), and its label in by that area
    (Yun et al. 2019: 1). With mixup too, each sample has one of the two, by a coin. 0: off."""
    crop: Float | None = Field(None, gt=0, le=1)
    """Side of the window as a share of the stored image (Section 4.1: 224/256). Default: 0.875 for folders and imagenet, else 1."""
    pad: Float | None = Field(None, ge=0, le=0.5)
    """Margin, as a share of the stored image and black, that a random window may reach over. Default: 0 for folders and
    imagenet, else 0.125."""
    normalize: Literal["tutorial", "paper", "standard"] = "standard"
    """`tutorial`: 0..255 to -1..1. `paper`: minus the channel means of the training set, on 0..255 (Section 2).
    `standard`: to zero mean and unit variance of the training set."""
    loader: Literal["ffcv", "torchvision", "synthetic"] = "ffcv"
    """`ffcv` reads `.beton` files; `torchvision` reads the images themselves and needs no FFCV; `synthetic` measures the rest."""
    workers: Int = Field(0, ge=0, le=256)
    """Loader threads or processes of each process. 0: the processor's cores shared between the processes."""
    cache: Literal["none", "memory", "device"] = "none"
    """Where decoded images are kept between epochs: `memory` of the host, or of the `device`, which then also crops and mirrors them."""
    order: Literal["random", "quasi_random", "sequential"] = "random"
    """Order of an epoch, keyed by seed and epoch. `quasi_random` shuffles blocks of 256 images, and images within 32 blocks, for
    disks slower than memory; `sequential` keeps the file's own order, which is shuffled once when preparing."""
    holdout: Float = Field(0.1, ge=0, lt=1)
    """Share of a set without test images that is held out for testing, stratified and keyed. 0: the training images test."""
    validation: Float = Field(0.0, ge=0, lt=1)
    """Share of the training images, stratified and keyed, that the run does not train but is tested on, in place of the test
    images: for choosing options, which the test set must not."""
    fraction: Float = Field(1.0, gt=0, le=1)
    """Share of the training images, stratified and keyed, that the run trains on: a smaller one is part of a larger one."""
    synthetic_images: Int = Field(2048, ge=2)
    """Training images of `data.name=synthetic`; a quarter as many test it."""
    synthetic_classes: Int = Field(10, ge=2)
    """Classes of `data.name=synthetic`."""

    @model_validator(mode="after")
    def _files_go_with_beton(self) -> DataConfig:
        if self.name == "beton" and not self.train:
            raise ValueError(
                "data.name=beton needs data.train=FILE.beton; make one with: python -m distalex.prepare folder --root=DIR --out=FILE.beton"
            )
        if self.name == "beton" and self.loader == "torchvision":
            raise ValueError(
                "data.loader=torchvision reads images, not .beton files; use data.loader=ffcv or data.name=folder --data.root=DIR"
            )
        if self.name != "beton" and (self.train or self.test):
            raise ValueError(f"data.train and data.test go with data.name=beton, not data.name={self.name}")
        if self.name in ("folder", "imagenet", "webdataset") and not self.root:
            raise ValueError(
                f"data.name={self.name} needs data.root=DIR, a folder of CLASS/*.jpg or of train/ and test/ with such, a tar archive "
                "or a table"
            )
        if self.name == "torchvision" and self.dataset is None:
            raise ValueError("data.name=torchvision needs data.dataset=NAME, torchvision's name of the set, e.g. --data.dataset=Flowers102")
        if self.name != "torchvision" and self.dataset is not None:
            raise ValueError(f"data.dataset goes with data.name=torchvision, not data.name={self.name}; e.g. --data.dataset=Flowers102")
        if self.labels is not None and self.name not in ("folder", "imagenet"):
            raise ValueError(f"data.labels={self.labels}: goes with data.name=imagenet, not data.name={self.name}")
        if self.name == "beton" and (self.validation or self.fraction < 1):
            part = f"validation={plain_text(self.validation)}" if self.validation else f"fraction={plain_text(self.fraction)}"
            raise ValueError(
                f"data.{part}: a prepared file is read whole; choose images where they come from, with data.name and data.root, or make "
                "files of the parts and name them with data.train and data.test"
            )
        if self.skip_bad and self.loader == "torchvision":
            raise ValueError(
                "data.skip_bad leaves images out of a prepared file, and data.loader=torchvision has none; use data.loader=ffcv"
            )
        return self

    @model_validator(mode="after")
    def _augmentation_makes_sense(self) -> DataConfig:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"data.scale={plain_text(self.scale)}: two rising shares of the stored image, above 0 and up to 1, are needed, "
                "e.g. --data.scale=0.08,1"
            )
        if self.colour != "measured" and self.augment != "paper":
            raise ValueError(
                f"data.colour={self.colour} is noise of data.augment=paper, not of data.augment={self.augment}; add --data.augment=paper"
            )
        return self

    @property
    def of_folders(self) -> bool:
        """Whether its images are photographs of any size."""
        return self.name in ("folder", "imagenet", "webdataset", "torchvision", "beton")

    @property
    def tested_on(self) -> str:
        """Which images evaluation takes."""
        return "validation" if self.validation else "test"

    @property
    def side(self) -> int:
        """Side of a stored image in pixels."""
        default = {"cifar10": 32, "cifar100": 32, "digits": 8, "synthetic": self.image_size}.get(self.name, 256)
        return self.stored_size or default
