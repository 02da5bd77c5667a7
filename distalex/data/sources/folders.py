"""Which images of which classes a tree of files holds, recognised by its names: class folders, ImageNet's layouts, WebDataset's pairs.

Each layout gives its splits: `train` and `test`, or `all` where there is no test set.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile

from distalex.data.images import is_image
from distalex.data.sources.imagenet import SYNSET, VALIDATION, _validation
from distalex.data.sources.splits import TEST, TRAIN, Sample, Splits, _split_word, class_name
from distalex.data.sources.tree import Files, printable
from distalex.data.sources.webdataset import _is_webdataset, webdataset
from distalex.errors import UserError


def recognise(files: Files, labels: str | None = None) -> Splits:
    """The labelled images of `files`. `labels` names a file with the classes of ImageNet's validation images.

    Raises UserError, saying what was found, where no layout fits.
    """
    images = [name for name in files.names if is_image(name)]
    if not images:
        found = f", e.g. {printable(files.names[0])}" if files.names else ""
        raise UserError(f"data.root={files.origin}: none of its {len(files.names):,} files is an image (.jpg, .png, …){found}")
    if _is_webdataset(files, images):
        return webdataset(files)
    prefix = _common_folder(images)
    tops = _folders_of(images, prefix)
    train = _named(files, tops, TRAIN)
    if train and any(_split_word(files, top) in TEST for top in tops):
        return _with_test_set(files, images, prefix, train, tops, labels)
    if labels:
        raise UserError(f"data.labels={labels}: {files.origin} has no train/ and val/ with ImageNet's validation images; leave it out")
    if not tops:
        return {"all": _flat(files, images, prefix)}
    only = train if train and len(tops) == 1 else None
    return {"all": _class_folders(files, images, f"{prefix}{only}/" if only else prefix)}


def _common_folder(names: Sequence[str]) -> str:
    """The folder that all names begin with, with its slash."""
    first, last = min(names).split("/")[:-1], max(names).split("/")[:-1]
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    return "".join(f"{folder}/" for folder in shared)


def _folders_of(names: Iterable[str], prefix: str) -> list[str]:
    """Folders directly below `prefix` that hold one of `names`, in order."""
    start = len(prefix)
    return sorted({name[start : name.index("/", start)] for name in names if name.startswith(prefix) and "/" in name[start:]})


def _named(files: Files, folders: Iterable[str], words: Sequence[str]) -> str | None:
    """The folder that is named for a split; where several are, the one of the earliest word and the plainest name."""
    candidates = [(words.index(word), len(folder), folder) for folder in folders if (word := _split_word(files, folder)) in words]
    return min(candidates)[2] if candidates else None


def _with_test_set(files: Files, images: list[str], prefix: str, train: str, tops: list[str], labels: str | None) -> Splits:
    samples = _class_folders(files, images, f"{prefix}{train}/")
    unlabelled = []
    for word in TEST:
        for folder in (top for top in tops if _split_word(files, top) == word):
            inside = [name for name in images if name.startswith(f"{prefix}{folder}/")]
            if _folders_of(inside, f"{prefix}{folder}/"):
                return {"train": samples, "test": _class_folders(files, inside, f"{prefix}{folder}/", alone=False)}
            if VALIDATION.match(os.path.basename(inside[0])):
                return {"train": samples, "test": _validation(files, inside, labels, sorted({sample.label for sample in samples}))}
            unlabelled.append(folder)
    raise UserError(
        f"data.root={files.origin}: {unlabelled[0]}/ holds images without class folders; sort them into {unlabelled[0]}/CLASS/, "
        "or take that folder away to hold out a part of the training images"
    )


def _class_folders(files: Files, images: Iterable[str], prefix: str, alone: bool = True) -> list[Sample]:
    """`CLASS/image` below `prefix`; nested folders belong to the class above them."""
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
    """A class folder whose files are all something else is a mistake."""
    for folder in _folders_of(files.names, prefix):
        if class_name(folder) not in classes:
            raise UserError(f"data.root={files.origin}: class folder {prefix}{printable(folder)}/ holds no image; remove it or fill it")


def _flat(files: Files, images: Sequence[str], prefix: str) -> list[Sample]:
    """`n01440764_tench.JPEG`: the class is the name without a number at its end; a synset with several words is the synset."""
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
