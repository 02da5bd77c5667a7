"""Classes that stand in the names of files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from distalex.data.files.kinds import without_suffix
from distalex.data.layouts.given import Given
from distalex.data.layouts.names import Layout, Sample, class_name
from distalex.errors import UserError

NUMBERS, LAST_NUMBER = r"[\W_]*\d[\d\W_]*$", r"[\W_]*\d+[\W_]*$"
"""What follows the class in a file's name: all numbers at its end, or the last one."""


def class_in(name: str, number: str = NUMBERS) -> str:
    """The class at the beginning of a file's name, up to its number: `cat` of cat.1.jpg; empty where it has none."""
    return class_name(re.sub(number, "", without_suffix(os.path.basename(name))))


def by_file_names(given: Given, prefix: str, splits: Mapping[str, list[str]]) -> Layout:
    """Images by the class at the beginning of their names; of obj1__0.png the number is the last. Raises UserError for one without."""
    found: dict[str, list[Sample]] = defaultdict(list)
    classes = set(map(class_in, given.images))
    number = LAST_NUMBER if len(classes) < 2 else NUMBERS
    for name in given.images:
        label, top = class_in(name, number), name[len(prefix) :].split("/")[0]
        split = next((word for word, tops in splits.items() if top in tops), "train")
        if not label:
            raise UserError(f"data.class_from=file_name: {given.files.where(name)} begins with no class; use another data.class_from")
        found["train" if split == "train" else "test"].append(Sample(name, label))
    if len(given.images) > 2 and len({class_in(name, number) for name in given.images}) == len(given.images):
        raise UserError(
            f"data.class_from=file_name: each image would be a class of its own, e.g. {class_in(given.images[0])}; name a table of their "
            "classes with data.labels=FILE"
        )
    title = "classes from file names, as data.class_from=file_name has them"
    return Layout(title, dict(found) if len(found) > 1 else {"all": next(iter(found.values()))})


def by_synsets(images: Sequence[str]) -> list[Sample] | None:
    """Samples named like `n01440764_tench.JPEG` or `ILSVRC2012_val_00000293_n01440764.JPEG`; None where not all are.

    The class is the synset, with the word behind it where there is a single one.
    """
    stems = {name: without_suffix(os.path.basename(name)) for name in images}
    found = {name: re.match(r"(n\d{8})(.*)", stem) or re.match(r".*_(n\d{8})()$", stem) for name, stem in stems.items()}
    words = defaultdict(set)
    for match in found.values():
        if match is None:
            return None
        words[match[1]].add(re.sub(r"_?(\d+|\d*_n\d{8})?$", "", match[2]))
    names = {synset: synset + min(words_) if len(words_) == 1 else synset for synset, words_ in words.items()}
    return [Sample(name, names[match[1]]) for name, match in found.items() if match]
