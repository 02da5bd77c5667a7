"""Recognises class folders, with or without a split above them, and flat files named by ImageNet's synsets."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile

from distalex.data.files.tree import Files, printable
from distalex.data.images import is_image
from distalex.data.layouts.imagenet import SYNSET, VALIDATION_IMAGE, validation_samples
from distalex.data.layouts.names import TEST, TRAIN, Sample, Splits, class_name, split_word
from distalex.data.layouts.webdataset import is_webdataset, webdataset
from distalex.errors import UserError


def recognise(files: Files, labels: str | None = None) -> Splits:
    """The labelled images of `files` by split. `labels` names a file with the classes of ImageNet's validation images.

    Raises UserError, with what was found, where no layout fits.
    """
    images = [name for name in files.names if is_image(name)]
    if not images:
        found = f", e.g. {printable(files.names[0])}" if files.names else ""
        raise UserError(
            f"data.root={files.origin}: none of its {len(files.names):,} files is an image (.jpg, .png, …){found}; name another folder"
        )
    if is_webdataset(files, images):
        return webdataset(files)
    prefix = _common_folder(images)
    tops = _folders_of(images, prefix)
    train = _named(files, tops, TRAIN)
    if train and any(split_word(files, top) in TEST for top in tops):
        return _with_test_set(files, images, prefix, train, tops, labels)
    if labels:
        raise UserError(f"data.labels={labels}: {files.origin} has no train/ and val/ with ImageNet's validation images; leave it out")
    if not tops:
        return {"all": _flat(files, images, prefix)}
    only = train if train and len(tops) == 1 else None
    return {"all": _class_folders(files, images, f"{prefix}{only}/" if only else prefix)}


def _common_folder(names: Sequence[str]) -> str:
    """The longest folder that all names lie in, with its slash; empty where there is none."""
    first, last = min(names).split("/")[:-1], max(names).split("/")[:-1]
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    return "".join(f"{folder}/" for folder in shared)


def _folders_of(names: Iterable[str], prefix: str) -> list[str]:
    """Folders directly below `prefix` that hold one of `names`, in order."""
    start = len(prefix)
    return sorted({name[start : name.index("/", start)] for name in names if name.startswith(prefix) and "/" in name[start:]})


def _named(files: Files, folders: Iterable[str], words: Sequence[str]) -> str | None:
    """The folder with one of the split's `words` for a name; of several the one with the first word, then the shortest name."""
    candidates = [(words.index(word), len(folder), folder) for folder in folders if (word := split_word(files, folder)) in words]
    return min(candidates)[2] if candidates else None


def _with_test_set(files: Files, images: list[str], prefix: str, train: str, tops: list[str], labels: str | None) -> Splits:
    """Splits where the folder `train`, of the folders `tops` below `prefix`, has a test set beside it."""
    samples = _class_folders(files, images, f"{prefix}{train}/")
    unlabelled = []
    for word in TEST:
        for folder in (top for top in tops if split_word(files, top) == word):
            inside = [name for name in images if name.startswith(f"{prefix}{folder}/")]
            if _folders_of(inside, f"{prefix}{folder}/"):
                return {"train": samples, "test": _class_folders(files, inside, f"{prefix}{folder}/", alone=False)}
            if VALIDATION_IMAGE.match(os.path.basename(inside[0])):
                return {"train": samples, "test": validation_samples(files, inside, labels, sorted({sample.label for sample in samples}))}
            unlabelled.append(folder)
    raise UserError(
        f"data.root={files.origin}: {unlabelled[0]}/ holds images without class folders; sort them into {unlabelled[0]}/CLASS/, "
        "or remove that folder, so that some of the training images are held out for testing"
    )


def _class_folders(files: Files, images: Iterable[str], prefix: str, alone: bool = True) -> list[Sample]:
    """Samples in `CLASS/` folders below `prefix`, nested folders included. Raises UserError; unless `alone`, one class is enough."""
    start = len(prefix)
    samples, flat = [], []
    for name in images:
        if name.startswith(prefix):
            class_, slash, _ = name[start:].partition("/")
            if slash:
                samples.append(Sample(name, class_name(class_)))
            else:
                flat.append(name)
    classes = sorted({sample.label for sample in samples})
    if not samples and flat:
        return _flat(files, flat, prefix)
    if len(classes) < 2 and alone:
        found = f"only {classes[0]}/" if classes else "none"
        place = f"{files.origin}/{prefix.rstrip('/')}" if prefix else files.origin
        raise UserError(f"data.root={place}: two or more class folders of images are needed (CLASS/*.jpg), found {found}")
    _refuse_empty(files, prefix, set(classes))
    return samples


def _refuse_empty(files: Files, prefix: str, classes: set[str]) -> None:
    """Raise UserError for a class folder without any image, which is a mistake."""
    for folder in _folders_of(files.names, prefix):
        if class_name(folder) not in classes:
            raise UserError(f"data.root={files.origin}: class folder {prefix}{printable(folder)}/ holds no image; remove it or fill it")


def _flat(files: Files, images: Sequence[str], prefix: str) -> list[Sample]:
    """Samples named like `n01440764_tench.JPEG`: the class is `n01440764_tench`, or the synset alone where several words follow it."""
    stems = [os.path.splitext(name[len(prefix) :])[0] for name in images]
    if not all(SYNSET.match(stem) for stem in stems):
        odd = next(name for name, stem in zip(images, stems, strict=True) if not SYNSET.match(stem))
        only = f" (only {prefix.rstrip('/').rpartition('/')[2]}/)" if prefix else ""
        raise UserError(
            f"data.root={files.origin}: two or more class folders of images are needed (CLASS/*.jpg){only}, or names that begin with "
            f"ImageNet's synsets (n01440764_….JPEG), or a table of paths and labels (.csv); found {printable(odd)}"
        )
    words = defaultdict(set)
    for stem in stems:
        words[stem[:9]].add(re.sub(r"_?\d*$", "", stem[9:]))
    names = {synset: synset + min(found) if len(found) == 1 else synset for synset, found in words.items()}
    if len(names) < 2:
        raise UserError(f"data.root={files.origin}: images of two or more classes are needed, found only {next(iter(names.values()))}")
    return [Sample(name, names[stem[:9]]) for name, stem in zip(images, stems, strict=True)]
