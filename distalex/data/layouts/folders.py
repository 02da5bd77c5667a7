"""What the folders that images lie in stand for: splits, parts, renderings, masks or classes."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile

from distalex.data.files.kinds import without_suffix
from distalex.data.files.tree import Files
from distalex.data.layouts.names import (
    MASK,
    OTHER_SPLITS,
    PART,
    TEST,
    TRAIN,
    Sample,
    class_name,
    differ_only_in_form,
    doubled,
    meaning,
    split_in,
    split_word,
    tokens,
)

SIDES = {
    "16",
    "28",
    "32",
    "48",
    "64",
    "96",
    "112",
    "128",
    "160",
    "192",
    "224",
    "256",
    "299",
    "320",
    "384",
    "448",
    "512",
    "640",
    "768",
    "1024",
}
"""Names of folders that are sizes of images where all are."""
MASK_NAME = re.compile(r"[_-](mask|segmentation|seg|gt)(?![a-z])(?=[^/]*$)", re.IGNORECASE)
"""What the names of masks add to those of their images."""
NO_CLASS = {"BACKGROUND_Google": "Caltech-101's background, which is no class"}
"""Folders among the classes of published sets that are none."""


def common_folder(names: Sequence[str]) -> str:
    """The longest folder that all names lie in, with its slash; empty where there is none."""
    first, last = min(names).split("/")[:-1], max(names).split("/")[:-1]
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    return "".join(f"{folder}/" for folder in shared)


def folders_of(names: Iterable[str], prefix: str) -> list[str]:
    """Folders directly below `prefix` that hold one of `names`, in order."""
    start = len(prefix)
    return sorted({name[start : name.index("/", start)] for name in names if name.startswith(prefix) and "/" in name[start:]})


def find_splits(files: Files, images: Sequence[str], prefix: str) -> dict[str, list[str]]:
    """Folders below `prefix` by the split that they are: of names that are words for splits, or differ only by such a word.

    Empty where they are none. There are a training set and another; folders of the list `unlabelled` belong to neither. Parts of one split,
    such as train_1 and train_2, come first in its list; see `parts_of_first`.
    """
    tops = folders_of(images, prefix)
    exact: dict[str, list[str]] = defaultdict(list)
    for top in tops:
        if word := split_word(top, files.archives and not prefix) or OTHER_SPLITS.get(top.lower()):
            exact["train" if word in TRAIN else word].append(top)
    if "train" in exact and len(exact) > 1:
        for word in exact:
            exact[word].sort(key=lambda top: (top.lower() not in TRAIN + TEST, len(top), top))
        return dict(exact)
    found: dict[str, list[str]] = defaultdict(list)
    for top in tops:
        if word := split_in(top):
            found[word].append(top)
    named = [top for group in found.values() for top in group]
    if "train" not in found:
        train = _training_set_without_the_word(images, prefix, tops, named)
        return {**found, "train": [train]} if train else {}
    alike = len(set(map(meaning, named))) == 1 and len(named) >= len(tops) - 1
    return dict(found) if alike and len(found) > 1 else {}


def _training_set_without_the_word(images: Sequence[str], prefix: str, tops: Sequence[str], named: Sequence[str]) -> str | None:
    """The one folder that no word for a split is in beside others of its name with one, such as `rps` and `rps-test-set`, or the only one
    of class folders beside flat ones that are named as splits, as in Places365; None where there is none.
    """
    rest = [top for top in tops if top not in named]
    if len(rest) == 1 and named and meaning(rest[0]) and differ_only_in_form(tops):
        return rest[0]
    plain = all(not re.sub(r"\d", "", "".join(meaning(top))) for top in named)
    return rest[0] if len(rest) == 1 and named and plain and set(folders_below(images, prefix)) == set(rest) else None


def parts_of_first(tops: Sequence[str]) -> list[str]:
    """The first of several folders of one split, and those that differ from it only by a number."""
    first = tops[0].lower()
    same = [
        top
        for top in tops[1:]
        if re.search(r"\d", first) and top.lower() != first and re.sub(r"\d+", "", top.lower()) == re.sub(r"\d+", "", first)
    ]
    return [tops[0], *same]


def without_masks(images: Sequence[str]) -> tuple[list[str], list[str]]:
    """Images, and apart from these the masks that lie in folders of their own beside them or are named after them."""
    folders = {name.rpartition("/")[0] for name in images}
    of_masks = _mask_folders(folders)
    inside = {folder for folder in folders if any(f"{folder}/".startswith(f"{one}/") for one in of_masks)}
    named = {name for name in images if MASK_NAME.search(name)}
    stems = {without_suffix(name) for name in images} if named else set()
    bases = {os.path.basename(stem) for stem in stems}
    masks = [name for name in images if name.rpartition("/")[0] in inside or (name in named and _named_after(name, stems, bases))]
    apart = set(masks)
    return [name for name in images if name not in apart] if masks else list(images), masks


def _mask_folders(folders: Iterable[str]) -> list[str]:
    """Folders named for masks beside others that differ from them only in form: `masks` beside `images`, at any depth."""
    children: dict[str, set[str]] = defaultdict(set)
    for folder in filter(None, folders):
        parts = folder.split("/")
        for depth, part in enumerate(parts):
            children["/".join(parts[:depth])].add(part)
    return [
        f"{parent}/{child}".lstrip("/")
        for parent, found in children.items()
        if any(map(_of_masks, found)) and not all(map(_of_masks, found)) and differ_only_in_form(sorted(found))
        for child in sorted(found)
        if _of_masks(child)
    ]


def _of_masks(folder: str) -> bool:
    return bool(MASK & set(tokens(folder))) and not meaning(folder)


def _named_after(name: str, stems: set[str], bases: set[str]) -> bool:
    """Whether an image is named as the mask of another: `benign (1)_mask.png` beside `benign (1).png`, or of one elsewhere in a folder of
    masks."""
    begins = [name[: match.start()] for match in MASK_NAME.finditer(name)]
    in_folder = bool(MASK & set(tokens(name.rpartition("/")[0])))
    return any(begin in stems or (in_folder and os.path.basename(begin) in bases) for begin in begins)


def why_no_names(names: Sequence[str]) -> str | None:
    """Why the names of folders are none of classes: they differ only in form, or one is a word for a split; None where they may be."""
    if differ_only_in_form(names):
        return f"{listed(names)} differ only by split, part, year, size or rendering"
    if len(names) > 1 and set(names) <= SIDES:
        return f"{listed(names)} are sizes of images"
    if pair := doubled(names):
        return f"{pair[0]}/ and {pair[1]}/ differ only by split or mask"
    alone = [name for name in names if set(tokens(name)) & {*TEST} and not meaning(name)] if len(names) > 1 else []
    split = next((name for name in alone if not any(name.lower() in other.lower() for other in names if other != name)), None)  # invalid
    return f"{split}/ is named as a split, and there is no train/ beside it" if split else None


def why_no_classes(images: Sequence[str], prefix: str, tops: Sequence[str], in_split: bool = False) -> str | None:
    """Why folders below `prefix` are no classes: their names, or the same folders in each; None where they may be.

    Names that differ only by a year or a number, as models of one car do, are classes where they lie in a split (`in_split`).
    """
    if (why := why_no_names(tops)) and not (in_split and meaning(tops[0])):
        return why
    if _begin_file_names(images, prefix, tops):
        return f"{listed(tops)} are the beginnings of file names"
    if bands := _bands_of_images(images, prefix):
        return f"{listed(tops)} hold one image each, in the parts {', '.join(bands[:4])}"
    if again := _unpacked_into_themselves(images, prefix):
        return f"{again}/ lies in a folder of its name, as an archive that was unpacked there does"
    for below in (folders_below(images, prefix), folders_below(images, prefix, innermost=True)):
        shared = set.intersection(*below.values()) if len(below) > 1 and len(below) == len(tops) else set()
        in_form = differ_only_in_form(sorted(shared)) and not any(map(split_in, shared))  # the years of each class, for example
        if len(shared) > 1 and not in_form and 2 * len(shared) > len(set.union(*below.values())):
            return f"{listed(tops)} hold the same folders {listed(sorted(shared))}"
    whole = _whole_set(images, prefix, tops)
    return f"{whole}/ holds the folders of a set" if whole else None


def _bands_of_images(images: Sequence[str], prefix: str) -> list[str]:
    """What follows the folder's name in the names of its images, where that is the same in all folders and no number: _B01, _B02."""
    ends: dict[str, set[str]] = defaultdict(set)
    for name in images:
        top, stem = name[len(prefix) :].split("/")[0], without_suffix(os.path.basename(name))
        end = stem.removeprefix(top)
        if end == stem or not re.fullmatch(r"([-_.][^\W\d_]+\d*[^\W\d_]*)+", end):
            return []
        ends[top].add(end)
    same = len(ends) > 1 and len(set(map(frozenset, ends.values()))) == 1
    shared = sorted(next(iter(ends.values()), ()))
    return shared if same and len(shared) > 1 else []


def _unpacked_into_themselves(images: Sequence[str], prefix: str) -> str | None:
    """The first folder below `prefix` that lies in one of its own name, and holds further folders; None where there is none."""
    parts = (name[len(prefix) :].split("/") for name in images)
    return next(("/".join(folders[:2]) for folders in parts if len(folders) > 3 and folders[0] == folders[1]), None)


def _whole_set(images: Sequence[str], prefix: str, tops: Sequence[str]) -> str | None:
    """One of several folders that holds splits, or that is named `data` and the like and holds folders; None where there is none."""
    for top, below in folders_below(images, prefix).items() if len(tops) > 1 else ():
        if {"train"} < set(map(split_in, below)) - {None} or (len(below) > 1 and not meaning(top) and not split_in(top)):
            return top
    return None


def _begin_file_names(images: Sequence[str], prefix: str, tops: Sequence[str]) -> bool:
    """Whether images are spread over folders by the first characters of their names: `ab/cd/abcd12.jpg`, `0f/0f3a.jpg`."""
    hexadecimal = all(re.fullmatch(r"[0-9a-f]{1,3}", top) for top in tops)
    mixed = any(map(str.isdigit, tops)) and any(map(str.isalpha, "".join(tops)))
    for name in images[:1000]:
        *folders, base = name[len(prefix) :].split("/")
        if not hexadecimal or not folders or not base.startswith("".join(folders)) or not (mixed or len(folders) > 1):
            return False
    return len(tops) > 1


def copies(images: Sequence[str], prefix: str, tops: Sequence[str]) -> list[str]:
    """Folders that hold the folders beside them once more, as some archives on Kaggle do: `cell_images/` beside the classes."""
    return [top for top, below in folders_below(images, prefix).items() if len(below) > 1 and below <= {*tops} - {top}]


def folders_below(images: Sequence[str], prefix: str, innermost: bool = False) -> dict[str, set[str]]:
    """The folders of images in each folder below `prefix` that has some, or those that the images lie in."""
    below: dict[str, set[str]] = defaultdict(set)
    for name in images:
        if name.startswith(prefix):
            parts = name[len(prefix) :].split("/")
            if len(parts) > 2:
                below[parts[0]].add(parts[-2] if innermost else parts[1])
    return below


def listed(names: Sequence[str], most: int = 4) -> str:
    """Name folders, e.g. `a/, b/ and 3 more`."""
    shown = ", ".join(f"{name}/" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def in_letters(tops: Sequence[str], images: Sequence[str], prefix: str) -> bool:
    """Whether classes lie in folders of their first letter, as those of Places365 and SUN397: `a/abbey`, `a/apartment/outdoor`."""
    below = folders_below(images, prefix)
    return (
        set(below) == set(tops)
        and all(len(top) == 1 and top.isalpha() for top in tops)
        and all(name.lower().startswith(top.lower()) for top, names in below.items() for name in names)
        and all(name.count("/", len(prefix)) > 1 for name in images)
    )


def are_parts(tops: Sequence[str]) -> bool:
    """Whether folders are parts or years of one set: names that differ only by such a word or a number."""
    same = len({tuple(word for word in tokens(top) if not word.isdigit()) for top in tops}) == 1
    return len(tops) > 1 and same and all(PART & set(tokens(top)) or top.isdigit() for top in tops) and differ_only_in_form(tops)


def samples_in(images: Iterable[str], start: int, level: str) -> list[Sample]:
    """Samples of images in folders below the first `start` characters of their names; others are left out.

    `level` says which folder is the class: `top_folder`, the `second`, `last_folder`, or the whole `path` behind the first.
    """
    samples = []
    for name in images:
        *folders, _ = name[start:].split("/")
        named = {"top_folder": folders[:1], "second": folders[1:2], "last_folder": folders[-1:], "path": folders[1:]}[level]
        if named:
            samples.append(Sample(name, class_name("/".join(named))))
    return samples
