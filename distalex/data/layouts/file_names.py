"""Classes that stand in the names of files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping

from distalex.data.files.kinds import without_suffix
from distalex.data.layouts.given import Given
from distalex.data.layouts.names import Layout, Sample, class_name
from distalex.errors import UserError


def class_in(name: str) -> str:
    """The class at the beginning of a file's name, up to its number: `cat` of cat.1.jpg; empty where it has none."""
    return class_name(re.sub(r"[\W_]*\d[\d\W_]*$", "", without_suffix(os.path.basename(name))))


def by_file_names(given: Given, prefix: str, splits: Mapping[str, list[str]]) -> Layout:
    """Images by the class at the beginning of their names. Raises UserError for one without."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for name in given.images:
        label, top = class_in(name), name[len(prefix) :].split("/")[0]
        split = next((word for word, tops in splits.items() if top in tops), "train")
        if not label:
            raise UserError(f"data.class_from=file_name: {given.files.where(name)} begins with no class; use another data.class_from")
        found["train" if split == "train" else "test"].append(Sample(name, label))
    title = "classes from file names, as data.class_from=file_name has them"
    return Layout(title, dict(found) if len(found) > 1 else {"all": next(iter(found.values()))})


def by_synsets(given: Given) -> list[Sample]:
    """Samples named like `n01440764_tench.JPEG`: the class is `n01440764_tench`, or the synset alone where several words follow it.

    Raises UserError for a single class.
    """
    stems = {name: without_suffix(os.path.basename(name)) for name in given.images}
    words = defaultdict(set)
    for stem in stems.values():
        words[stem[:9]].add(re.sub(r"_?\d*$", "", stem[9:]))
    names = {synset: synset + min(found) if len(found) == 1 else synset for synset, found in words.items()}
    if len(names) < 2:
        found = next(iter(names.values()))
        raise UserError(f"data.root={given.files.origin}: images of two or more classes are needed, found only {found}; add another class")
    return [Sample(name, names[stem[:9]]) for name, stem in stems.items()]
