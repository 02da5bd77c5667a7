"""Folders that are splits, each of class folders or labelled by a table."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping

from distalex.data.layouts.beside import label_by_tables
from distalex.data.layouts.class_folders import find_classes
from distalex.data.layouts.file_names import by_synsets
from distalex.data.layouts.folders import common_folder, folders_of, listed, parts_of_first, why_no_classes, why_no_names
from distalex.data.layouts.given import Given
from distalex.data.layouts.imagenet import VALIDATION_IMAGE, validation_samples
from distalex.data.layouts.names import TEST, Layout, Sample, Splits, split_in
from distalex.errors import UserError


def by_split_folders(given: Given, prefix: str, splits: Mapping[str, list[str]]) -> Layout:
    """Images of the folders `splits` below `prefix`, by the word that each stands for; of several with one word the first.

    The test set is that of `test` and `val` which has classes. Raises UserError where the training set or every other one has none.
    """
    images = {word: [given.below(f"{prefix}{top}/") for top in parts_of_first(tops)] for word, tops in splits.items()}
    order = [word for word in TEST if word in images]
    train = _in_themselves(given, images["train"])
    for word in order if train else ():
        test = _in_themselves(given, images[word], alone=False)
        if test is None and VALIDATION_IMAGE.match(os.path.basename(images[word][0][0])):
            synsets = sorted({sample.label for sample in train or ()})
            test = validation_samples(given.files, images[word][0], given.asked.labels, synsets)
        if test and train and {sample.label for sample in train}.isdisjoint(sample.label for sample in test):
            train = None  # such as folders of patients
            break
        if test:
            return _titled(given, "class folders", {"train": train or [], "test": test}, prefix, splits, word)
    return _labelled(given, prefix, splits, images, order, train)


def _labelled(
    given: Given,
    prefix: str,
    splits: Mapping[str, list[str]],
    images: dict[str, list[list[str]]],
    order: list[str],
    train: list[Sample] | None,
) -> Layout:
    """Splits of which one at least is labelled by a table. Raises UserError where one has no classes, and nothing says why."""
    tables = label_by_tables(given, train or ())
    by_image = {sample.name: sample for samples in tables.splits.values() for sample in samples}
    by_tables = [by_image[name] for part in images["train"] for name in part if name in by_image] if train is None else train
    looked = "".join(f"; {note}" for note in tables.notes)
    if not by_tables:
        folder = splits["train"][0]
        raise UserError(
            f"data.root={given.files.origin}: {prefix}{folder}/ holds images without class folders{_why(images['train'])}, and no table "
            f"beside them has their classes{looked}; sort them into {folder}/CLASS/, name a table with data.labels=FILE, or take its "
            "folders for classes with data.class_from=top_folder"
        )
    title = tables.title if train is None else "class folders"
    for word in order:
        named = [by_image[name] for part in images[word] for name in part if name in by_image]
        test = (named if train is None else None) or _in_themselves(given, images[word], alone=False) or named
        if test:
            both = f"{title} and {tables.title}" if test == named and train is not None else title
            return _titled(given, both, {"train": by_tables, "test": test}, prefix, splits, word)
    if train is None and set(tables.splits) == {"train", "test"}:  # the table itself splits the training images
        return _titled(given, title, tables.splits, prefix, splits, "")
    by_competition = any("submission" in os.path.basename(name).lower() for name in given.others)
    if train is None or by_competition or not order:
        return _titled(given, title, {"all": by_tables}, prefix, splits, "")
    folder = splits[order[0]][0]
    alone = given.place(prefix + splits["train"][0])
    raise UserError(
        f"data.root={given.files.origin}: {folder}/ holds images without class folders{looked}; sort them into {folder}/CLASS/, name a "
        f"table of them with data.labels=FILE, or name data.root={alone} alone, of which data.holdout are held out for testing"
    )


def _why(parts: list[list[str]]) -> str:
    """Why the folders of a split are no classes, for messages; an empty text where it has none."""
    prefix = common_folder(parts[0])
    why = why_no_classes(parts[0], prefix, folders_of(parts[0], prefix), in_split=True)
    return f" ({why})" if why else ""


def _titled(given: Given, title: str, found: Splits, prefix: str, splits: Mapping[str, list[str]], word: str) -> Layout:
    """The layout with the folders of its splits in its title, and the images of other splits left out."""
    used = {sample.name for samples in found.values() for sample in samples}
    left_out: dict[str, list[str]] = defaultdict(list)
    for kind, tops in splits.items():
        for top in tops:
            rest = [name for name in given.below(f"{prefix}{top}/") if name not in used]
            if rest:
                beside = splits[word or "train"][0]
                looked_at = not word or kind not in TEST or TEST.index(kind) <= TEST.index(word)
                unlabelled = top in parts_of_first(tops) and looked_at
                left_out[f"{'without a class' if unlabelled else f'not used beside {beside}/'}, in {prefix}{top}/"] = rest
    folders = [f"{prefix}{splits[kind][0]}" for kind in ("train", word) if kind in splits]
    return Layout(f"{title} in {listed(folders)}", found, dict(left_out))


def _in_themselves(given: Given, parts: list[list[str]], alone: bool = True) -> list[Sample] | None:
    """Samples of a split's class folders, in each of its parts, or by synsets in file names; None where there are none.

    Unless `alone`, one class is enough.
    """
    found = [_in_folders(given, part, alone and len(parts) == 1) for part in parts]
    if None not in found:
        return [sample for samples in found for sample in samples or ()]
    return by_synsets([name for part in parts for name in part]) if given.asked.class_from == "auto" else None


def _in_folders(given: Given, inside: list[str], alone: bool = True) -> list[Sample] | None:
    """Samples of the class folders that hold images; None where there are none. Unless `alone`, one class is enough."""
    prefix = common_folder(inside)
    tops = folders_of(inside, prefix)
    if not tops:
        above, _, last = prefix.rstrip("/").rpartition("/")
        if alone or not above or split_in(last) or why_no_names([last, "images"]):
            return None
        prefix = f"{above}/"  # a single class
    found = find_classes(given, inside, prefix, alone, in_split=True)
    return None if isinstance(found, str) else found[0]
