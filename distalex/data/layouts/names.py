"""What names of folders, archives and table cells stand for: splits, parts, renderings and classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from distalex.console import counted
from distalex.data.files.tree import printable
from distalex.errors import UserError


class Sample(NamedTuple):
    """An image file and its class."""

    name: str
    """Of the file, among the `Files` that it was found in."""
    label: str
    """Name of the class."""


Splits = dict[str, list[Sample]]
"""Samples by split: `train` and `test`, or `all` where there is no test set."""


@dataclass
class Layout:
    """Labelled images in a layout that was recognised."""

    title: str
    """The layout by name, for people."""
    splits: Splits
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Files that are left out, by reason."""
    notes: list[str] = field(default_factory=list)
    """Further lines for people, such as which files were not used."""


TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation", "testing")
UNLABELLED = ("pred", "prediction", "unlabeled", "unlabelled", "extra")
PART = {
    *("part", "parts", "shard", "batch", "chunk", "fold", "split", "folder", "disk", "disc", "vol", "volume", "archive"),
    *("set", "subset", "piece", "images", "imgs", "image", "img"),
}
MASK = {
    *("mask", "masks", "trimap", "trimaps", "annotation", "annotations", "segmentation", "segmentations", "label"),
    *("labels", "groundtruth", "gt", "xml", "xmls", "bbox"),
}
RENDERING = {
    *("color", "colour", "grayscale", "greyscale", "gray", "grey", "segmented", "rgb", "bw", "original", "orig", "raw"),
    *("augmented", "aug", "cropped", "depth", "thermal", "thumb", "thumbs", "thumbnail", "thumbnails", "hires", "lowres"),
    *("resized", "processed", "preprocessed", "jpg", "jpeg", "png", "tif", "tiff", "pics", "photos", "data", "dataset"),
    *("final",),
}
OTHER_SPLITS = {
    **{"trainval": "train", "dev": "val", "eval": "val", "crossval": "val", "evaluation": "test", "holdout": "test"},
    **{"trainset": "train", "trainingset": "train", "testset": "test", "valset": "val", "validationset": "val"},
    **{"训练集": "train", "测试集": "test", "验证集": "val"},
}
"""Further words for splits."""
_SPLIT = {*TRAIN, *TEST, *UNLABELLED, *OTHER_SPLITS}


def split_word(folder: str, is_archive: bool = False) -> str | None:
    """The word of TRAIN or TEST that is a folder's name, or in an archive's name: `train` of ILSVRC2012_img_train or train-0001."""
    words = re.split(r"[-_.]+", folder.lower()) if is_archive else [folder.lower()]
    return next((word for word in reversed(words) if word in TRAIN + TEST), None)


def tokens(name: str) -> list[str]:
    """Split a name into words and numbers, in lower case: `seg_train2018` is seg, train, 2018."""
    return re.findall(r"[^\W\d_]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def split_in(name: str) -> str | None:
    """The split that a word in a name stands for: `train`, `test`, `val` or `unlabelled`; None where there is none or several."""
    found = set()
    for word in tokens(name):
        word = OTHER_SPLITS.get(word, word)
        kind = "train" if word in TRAIN else "unlabelled" if word in UNLABELLED else word[:4].replace("vali", "val")
        if kind in ("train", "unlabelled") or word in TEST:
            found.add(kind)
    found -= {"val"} if found >= {"train", "val"} else set()  # train_val2018 is a training set
    return found.pop() if len(found) == 1 else None


def meaning(name: str) -> tuple[str, ...]:
    """The words of a name that may tell a class: without splits, parts, shards, years, sizes and renderings."""
    words = tokens(name)
    if not words:  # a sign, such as + or =
        return (name,)
    of_parts = any(word in PART | _SPLIT for word in words)
    kept = [word for word in words if word not in _SPLIT | PART | MASK | RENDERING]
    sized = bool(re.fullmatch(r"\d+ ?(x ?\d*|px)", " ".join(words)))
    return tuple(
        word
        for word in kept
        if not ((word.isdigit() and (of_parts or sized or re.fullmatch(r"(19|20)\d\d", word))) or (sized and word in "xpx"))
    )


def differ_only_in_form(names: Sequence[str]) -> bool:
    """Whether two or more names differ only by split, part, shard, year, size or rendering, so that they are no classes."""
    return len(names) > 1 and len(set(map(meaning, names))) == 1


def doubled(names: Sequence[str]) -> tuple[str, str] | None:
    """Two names that differ only by a word for masks or splits, such as `cat` and `cat_masks`, where every name is of such a pair."""
    by_meaning: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        by_meaning.setdefault(tuple(word for word in tokens(name) if word not in MASK | _SPLIT), []).append(name)
    if by_meaning and all(key and len(group) > 1 for key, group in by_meaning.items()):
        first = next(iter(by_meaning.values()))
        return first[0], first[1]
    return None


@lru_cache(2**16)
def class_name(folder: str) -> str:
    """The class that a folder's name stands for, in Unicode's composed form: macOS and Linux store é differently."""
    return unicodedata.normalize("NFC", printable(folder))


def common_classes(splits: Splits, origin: str) -> tuple[str, ...]:
    """The classes that all splits have, in order. Raises UserError for a single class, or where the splits differ."""
    counts = {split: Counter(sample.label for sample in samples) for split, samples in splits.items()}
    whole = set().union(*counts.values())
    classes = ordered(whole)
    if len(classes) < 2:
        raise UserError(f"data.root={origin}: images of two or more classes are needed, found only {classes[0]}; add another class")
    _refuse_alike(classes, origin)
    for one, other in (("train", "test"), ("test", "train")) if "test" in counts else ():
        lacking = [class_ for class_ in classes if not counts[other][class_]]
        if lacking:
            words = {"train": "training image", "test": "test image"}
            more = f" and {len(lacking) - 5:,} more" if len(lacking) > 5 else ""
            has = counted(sum(counts[one][class_] for class_ in lacking), words[one])
            raise UserError(
                f"data.root={origin}: training and test images differ in their classes: {', '.join(lacking[:5])}{more} "
                f"{'has' if len(lacking) == 1 else 'have'} {has} and no {words[other]}; add some, remove the class, or point data.root at "
                "the training images alone, of which data.holdout of each class are held out for testing"
            )
    return classes


def _refuse_alike(classes: Iterable[str], origin: str) -> None:
    """Raise UserError for two classes whose names differ only by case, spaces, underscores or as a copy's does; single letters may."""
    seen: dict[str, str] = {}
    for class_ in sorted(classes, key=len):
        plain = re.sub(r"(?<=\w)[\s_-]+(?=[\w(])", " ", class_.casefold().strip())  # -1 is not 1
        for name, form in ((plain, "case or spaces"), (re.sub(r" (\(\d+\)|copy( \(?\d+\)?)?)$", "", plain), "a copy's number")):
            if name in seen and len(class_) > 1:
                raise UserError(f"data.root={origin}: classes {seen[name]!r} and {class_!r} differ only by {form}; give them one name")
        seen[plain] = class_


def ordered(classes: Iterable[str]) -> tuple[str, ...]:
    """Classes in order: by value where all are whole numbers, else by name."""
    listed = sorted(classes)
    if all(re.fullmatch(r"-?\d+", class_) for class_ in listed):
        listed.sort(key=int)
    return tuple(listed)
