"""Options of the images: where they come from, how they are read and how they are augmented."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distalex.config.choices import OneOf, declared_in, facts_in
from distalex.config.schema import Counts, Float, Floats, Int, Pairs, Section, plain_text

WANTED = {
    "root": "DIR, a folder of CLASS/*.jpg or of train/ and test/ with such folders, a tar archive or a table",
    "dataset": "NAME, the set's name in torchvision; e.g. --data.dataset=Flowers102",
    "train": "FILE.beton; write one with: python -m distalex.prepare folder --root=DIR --out=FILE.beton",
}
"""What to give for the options that a source may need."""


def name_at(root: str) -> str:
    """The data set whose files lie at a root, by those that its source says it has; `folder` where it is none of these."""
    at = Path(root).expanduser()
    for name, declared in declared_in("data/sources").items():
        for files in declared.facts.get("HAS", ()):
            if all(os.path.exists(at / file) for file in files) or files == (at.name,):
                return name
    return "folder"


class DataConfig(Section):
    """The images, how they are read and how they are augmented."""

    name: Annotated[str, OneOf("data/sources")] = "cifar10"
    """Data set, or kind of source."""
    root: str | None = None
    """Folder, archive or table that holds the data. Without `data.name` it is recognised by its content. Default: the environment's
    DISTALEX_DATA, then `data/`, then a download."""
    dataset: str | None = None
    """`data.name=torchvision`: the set's name in torchvision, e.g. Flowers102."""
    labels: str | None = None
    """Table with the classes of the images at `data.root`, where it does not lie beside them or several do; also ImageNet's of its
    validation images."""
    columns: Pairs | None = None
    """Columns of a table of images, `path:NAME,label:NAME` and perhaps `split:NAME`, or their numbers from 1. Default: known names."""
    class_from: Literal["auto", "top_folder", "last_folder", "file_name"] = "auto"
    """Where the class stands in an image's path. `auto`: understood from folders and tables; `top_folder`: the first folder below
    `data.root`, or below a split; `last_folder`: the folder that the image lies in; `file_name`: its name up to a number (cat.1.jpg)."""
    train: str | None = None
    """`data.name=beton`: prepared training file, FILE.beton; also stands for the files FILE-00000-of-….beton of a set in several files."""
    test: str | None = None
    """`data.name=beton`: prepared test file. Default: FILE.test.beton, which `prepare` writes beside `data.train`."""
    image_size: Int = Field(224, ge=24, le=256)
    """Height and width of the network's input, in pixels (Section 2: 224). Below 64 only with the `cifar` and `paper_cifar` networks."""
    stored_size: Int | None = Field(None, ge=1, le=1024)
    """Height and width of the stored images, in pixels (Section 2: short side 256, then the central square).
    Default: 32 for CIFAR, 8 for digits, `image_size` for synthetic, else 256."""
    resize: Literal["short_side", "max_side"] = "short_side"
    """Side that is scaled to `stored_size`. `short_side`: the centre square is kept, as in the paper; `max_side`: the long side, and
    the whole image is kept on a black square."""
    encoding: Literal["raw", "jpg", "mixed"] = "raw"
    """How images are stored in prepared files. `raw` reads fastest; `jpg` takes a ninth of the space at 256x256, two fifths at 32x32;
    `mixed`: half of the images each."""
    quality: Int = Field(90, ge=1, le=100)
    """JPEG quality."""
    skip_bad: bool = False
    """Skip and list unreadable images when preparing, instead of stopping at the first."""
    augment: Literal["none", "crop", "flip_crop", "paper", "resized_crop"] = "flip_crop"
    """Training crops. `none`: the centre; `crop`: random; `flip_crop`: random, mirrored half the time; `paper`: flip_crop with PCA
    colour noise (Section 4.1); `resized_crop`: random area and aspect ratio, mirrored half the time (Szegedy et al. 2015). Random
    draws, here and below, are keyed by seed, epoch and sample. The options below go with each of these."""
    scale: Floats = (0.08, 1.0)
    """`resized_crop`: smallest and largest area, as fractions of the stored image. Aspect ratios are 3/4 to 4/3."""
    colour: Literal["measured", "imagenet"] = "measured"
    """`paper`: principal components of the colour noise, those measured on the training set or those of ImageNet in the 2012 code."""
    rotate: Float = Field(0.0, ge=0, le=45)
    """Largest rotation about the centre of the crop, in degrees either way; corners are filled with black."""
    cutout: Float = Field(0.0, ge=0, le=1)
    """Side of a square of the mean colour at a random place, as a fraction of the crop's side; it may reach over the edge
    (DeVries & Taylor 2017: 16 of 32 pixels). 0: off."""
    mixup: Float = Field(0.0, ge=0, le=100)
    """α of mixup: each crop and its label are mixed with another sample's, by a share drawn from Beta(α, α) (Zhang et al. 2018: 0.2).
    0: off."""
    cutmix: Float = Field(0.0, ge=0, le=100)
    """α of CutMix: a box of another sample's crop, of an area drawn from Beta(α, α), replaces that of each crop, and labels are mixed
    by area (Yun et al. 2019: 1). 0: off. With mixup too, each sample draws one of the two."""
    vertical_flip: bool = False
    """Mirror half of the images upside down, for images without an up, such as those of microscopes and satellites."""
    trivial_augment: bool = False
    """TrivialAugment: one of 14 changes of shape or colour to each image, of any strength (Müller & Hutter 2021; torchvision's
    TrivialAugmentWide)."""
    randaugment: Counts = ()
    """RandAugment, as NUMBER,STRENGTH: so many of the same changes to each image in turn, of a strength from 1 to 30 (Cubuk et al. 2020;
    torchvision: 2,9)."""
    jitter: Floats = ()
    """Colour jitter: largest change of brightness, contrast, saturation and hue, in a random order; 0 or nothing at the end: unchanged
    (torchvision's ColorJitter; 0.4,0.4,0.4,0.1 is common)."""
    erase: Float = Field(0.0, ge=0, le=1)
    """Random erasing: share of the crops in which a rectangle of 2 to 33 % of the area gets the mean colour (Zhong et al. 2020: 0.5). 0:
    off."""
    crop: Float | None = Field(None, gt=0, le=1)
    """Side of the crop, as a fraction of the stored image (Section 4.1: 224/256). Default: 0.875 for photographs of any size, else 1."""
    pad: Float | None = Field(None, ge=0, le=0.5)
    """Black margin that a random crop may reach over, as a fraction of the stored image. Default: 0 for photographs of any size,
    else 0.125."""
    normalize: Literal["tutorial", "paper", "standard", "imagenet"] = "standard"
    """Scale of the input. `tutorial`: 0..255 to -1..1; `paper`: minus the training set's channel means, on 0..255 (Section 2);
    `standard`: zero mean and unit variance of the training set's channels; `imagenet`: as `standard`, with ImageNet's mean and
    variance, which torchvision's weights expect."""
    loader: Literal["ffcv", "torchvision", "synthetic"] = "ffcv"
    """`ffcv` reads `.beton` files; `torchvision` reads the original images and needs no FFCV; `synthetic` gives noise, to time the rest."""
    workers: Int = Field(0, ge=0, le=256)
    """Reading threads or processes of each process. 0: the cores divided by the processes of the host."""
    cache: Literal["none", "memory", "device"] = "none"
    """Where decoded images are cached between epochs: nowhere, in the host's `memory`, or on the `device`."""
    order: Literal["random", "quasi_random", "sequential", "balanced"] = "random"
    """Order of an epoch's samples, keyed by seed and epoch. `quasi_random` shuffles blocks of 256 images, and images within 32 blocks,
    for disks slower than memory; `sequential` is the order of the file, which is shuffled once when preparing; `balanced` takes as
    many images of each class, for sets that lean: an epoch has as many as the set, those of rare classes several times, each time
    augmented anew, and some of the frequent ones' in this epoch and some in the next."""
    holdout: Float = Field(0.1, ge=0, lt=1)
    """Fraction of each class that is held out for testing, of a set without test images. 0: test on the training images."""
    validation: Float = Field(0.0, ge=0, lt=1)
    """Fraction of each class of the training images that is held out and tested on in place of the test images, for choosing options."""
    fraction: Float = Field(1.0, gt=0, le=1)
    """Fraction of each class of the training images to train on; a larger fraction contains a smaller one."""
    synthetic_images: Int = Field(2048, ge=2)
    """`data.name=synthetic`: training images; there are a quarter as many test images."""
    synthetic_classes: Int = Field(10, ge=2)
    """`data.name=synthetic`: classes."""

    @model_validator(mode="before")
    @classmethod
    def _recognise_what_lies_at_root(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("root"), str) and values.get("name") is None:
            return {**values, "name": name_at(values["root"])}
        return values

    @model_validator(mode="after")
    def _require_known_columns(self) -> DataConfig:
        if self.columns is not None and not {"path", "label"} <= set(self.columns) <= {"path", "label", "split"}:
            raise ValueError(
                f"data.columns={plain_text(self.columns)}: columns of path and label are needed, and perhaps split; e.g. "
                "--data.columns=path:image_id,label:breed"
            )
        return self

    @model_validator(mode="after")
    def _require_options_of_source(self) -> DataConfig:
        facts = self._facts
        for option in facts["NEEDS"]:
            if getattr(self, option) is None:
                raise ValueError(f"data.name={self.name} needs data.{option}={WANTED[option]}")
        for option in ("dataset", "labels", "columns", "train", "test"):
            if getattr(self, option) is not None and option not in (*facts["NEEDS"], *facts["TAKES"]):
                taking = [name for name, one in declared_in("data/sources").items() if option in (*one.facts["NEEDS"], *one.facts["TAKES"])]
                raise ValueError(
                    f"data.{option}={getattr(self, option)}: goes with data.name={' or '.join(taking)}, not with data.name={self.name}; "
                    "remove it or change data.name"
                )
        return self

    @model_validator(mode="after")
    def _require_options_of_prepared_files(self) -> DataConfig:
        if self._facts.get("PREPARED"):
            if self.loader == "torchvision":
                raise ValueError(
                    f"data.loader=torchvision reads original images, not those of data.name={self.name}; use data.loader=ffcv, or "
                    "data.name=folder with data.root=DIR"
                )
            if self.validation or self.fraction < 1:
                option = f"validation={plain_text(self.validation)}" if self.validation else f"fraction={plain_text(self.fraction)}"
                raise ValueError(
                    f"data.{option}: does not go with data.name={self.name}, as a prepared file is read whole; name the original images "
                    "with data.name and data.root, or prepare files of the splits and name them with data.train and data.test"
                )
        if self.skip_bad and self.loader == "torchvision":
            raise ValueError(
                "data.skip_bad=true: skips images when preparing a file, and data.loader=torchvision reads none; use data.loader=ffcv"
            )
        return self

    @model_validator(mode="after")
    def _require_consistent_augmentation(self) -> DataConfig:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"data.scale={plain_text(self.scale)}: two increasing fractions of the image's area, above 0 and up to 1, are needed, "
                "e.g. --data.scale=0.08,1"
            )
        self._require_consistent_policies()
        if self.colour != "measured" and self.augment != "paper":
            raise ValueError(
                f"data.colour={self.colour} goes with data.augment=paper, not with data.augment={self.augment}; add --data.augment=paper"
            )
        return self

    def _require_consistent_policies(self) -> None:
        if self.order == "balanced" and (self.mixup or self.cutmix):
            raise ValueError(
                "data.order=balanced: does not go with data.mixup or data.cutmix, which mix in images of the whole set as it leans; "
                "use train.class_weights=balanced with these"
            )
        if self.randaugment and (len(self.randaugment) != 2 or self.randaugment[0] > 14 or self.randaugment[1] > 30):
            raise ValueError(
                f"data.randaugment={plain_text(self.randaugment)}: a number of changes up to 14 and a strength up to 30 are needed, "
                "e.g. --data.randaugment=2,9"
            )
        if self.randaugment and self.trivial_augment:
            raise ValueError(
                f"data.randaugment={plain_text(self.randaugment)}: does not go with data.trivial_augment=true, which draws from the same "
                "changes; remove one of them"
            )
        if len(self.jitter) > 4 or any(reach < 0 for reach in self.jitter) or max(self.jitter[3:], default=0) > 0.5:
            raise ValueError(
                f"data.jitter={plain_text(self.jitter)}: up to four changes of brightness, contrast, saturation and hue are needed, 0 or "
                "more, that of hue up to 0.5; e.g. --data.jitter=0.4,0.4,0.4,0.1"
            )

    @property
    def _facts(self) -> Mapping[str, Any]:
        """What the file of the source declares."""
        return facts_in("data/sources", self.name)

    @property
    def of_photographs(self) -> bool:
        """Whether the images are photographs of any size, and not of a set with one small size."""
        return bool(self._facts["PHOTOGRAPHS"])

    @property
    def tested_on(self) -> str:
        """Which images are tested on: `test`, or `validation` where some of the training images are held out for that."""
        return "validation" if self.validation else "test"

    @property
    def side(self) -> int:
        """Height and width of a stored image, in pixels."""
        return self.stored_size or self._facts["STORED_SIDE"] or self.image_size
