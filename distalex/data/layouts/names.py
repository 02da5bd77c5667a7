"""What names of folders, archives and table cells stand for: splits and classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from distalex.data.files.tree import Files, printable
from distalex.errors import UserError


class Sample(NamedTuple):
    """An image file and its class."""

    name: str
    """Of the file, among the `Files` that it was found in."""
    label: str
    """Name of the class."""


Splits = dict[str, list[Sample]]
"""Samples by split: `train` and `test`, or `all` where there is no test set."""

TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation", "testing")


def split_word(files: Files, folder: str) -> str | None:
    """The word of TRAIN or TEST that is a folder's name, or in an archive's name: `train` of ILSVRC2012_img_train or train-0001."""
    words = re.split(r"[-_.]+", folder.lower()) if files.archives else [folder.lower()]
    return next((word for word in reversed(words) if word in TRAIN + TEST), None)


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
    if "test" in counts and set(counts["train"]) != set(counts["test"]):
        odd = [class_ for class_ in classes if (class_ in counts["train"]) != (class_ in counts["test"])]
        raise UserError(
            f"data.root={origin}: training and test images differ in their classes: {', '.join(odd[:5])}; give both the same classes"
        )
    return classes


def ordered(classes: Iterable[str]) -> tuple[str, ...]:
    """Classes in order: by value where all are whole numbers, else by name."""
    listed = sorted(classes)
    if all(re.fullmatch(r"-?\d+", class_) for class_ in listed):
        listed.sort(key=int)
    return tuple(listed)
