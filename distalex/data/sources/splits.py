"""Splits and classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from distalex.data.sources.tree import Files, printable
from distalex.errors import UserError


class Sample(NamedTuple):
    name: str
    """Of the file, in its tree."""
    label: str
    """The class."""


Splits = dict[str, list[Sample]]
TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation", "testing")


def _split_word(files: Files, folder: str) -> str | None:
    """The word for a split that a folder's name is, or that an archive's has in it: `train` of ILSVRC2012_img_train or train-0001."""
    words = re.split(r"[-_.]+", folder.lower()) if files.archives else [folder.lower()]
    return next((word for word in reversed(words) if word in TRAIN + TEST), None)


def class_name(folder: str) -> str:
    """A class's name: the folder's, composed, so that é of a Mac's disk is é of a Linux one's."""
    return unicodedata.normalize("NFC", printable(folder))


def classes_of(splits: Splits, origin: str) -> tuple[str, ...]:
    """The classes in order: numbers by size, else by name. Raises UserError for one class, or for splits that differ in theirs."""
    counts = {split: Counter(sample.label for sample in samples) for split, samples in splits.items()}
    whole = set().union(*counts.values())
    classes = ordered(whole)
    if len(classes) < 2:
        raise UserError(f"data.root={origin}: images of two or more classes are needed, found only {classes[0]}")
    if "test" in counts and set(counts["train"]) != set(counts["test"]):
        odd = [class_ for class_ in classes if (class_ in counts["train"]) != (class_ in counts["test"])]
        raise UserError(f"data.root={origin}: the training and the test images differ in their classes: {', '.join(odd[:5])}")
    return classes


def ordered(classes: Iterable[str]) -> tuple[str, ...]:
    listed = sorted(classes)
    if all(re.fullmatch(r"-?\d+", class_) for class_ in listed):
        listed.sort(key=int)
    return tuple(listed)
