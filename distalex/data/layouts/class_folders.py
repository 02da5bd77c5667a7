"""Class folders: at which level they lie, and that none is empty and there are two or more."""

from __future__ import annotations

import os
from collections.abc import Sequence

from distalex.data.files.tree import is_hidden, printable
from distalex.data.layouts.folders import (
    NO_CLASS,
    are_parts,
    folders_below,
    folders_of,
    in_letters,
    listed,
    samples_in,
    why_no_classes,
    why_no_names,
)
from distalex.data.layouts.given import Given
from distalex.data.layouts.names import MASK, RENDERING, Sample, meaning, tokens
from distalex.errors import UserError

NOTES = (
    MASK
    | RENDERING
    | {"meta", "metadata", "lists", "list", "devkit", "docs", "doc", "readme", "json", "csv", "info", "misc", "code", "scripts"}
)


def find_classes(
    given: Given, inside: Sequence[str], prefix: str, alone: bool = True, in_split: bool = False
) -> tuple[list[Sample], str] | str:
    """Samples of the class folders below `prefix`, which hold the images `inside`, and how they lie; or why the folders are no classes.

    `in_split`: whether `prefix` is the folder of a split. Raises UserError as `checked` does.
    """
    tops = folders_of(inside, prefix)
    level = given.asked.class_from
    if level != "auto":
        return checked(given, samples_in(inside, len(prefix), level), prefix, alone), f"class folders, as data.class_from={level} has them"
    if in_letters(tops, inside, prefix):
        return samples_in(inside, len(prefix), "path"), "class folders in folders of their first letter"
    why = why_no_classes(inside, prefix, tops, in_split)
    if why is None:
        return checked(given, samples_in(inside, len(prefix), "top_folder"), prefix, alone), "class folders"
    below = sorted(set().union(*folders_below(inside, prefix).values()))
    if are_parts(tops) and len(below) > 1 and not why_no_names(below):
        return samples_in(inside, len(prefix), "second"), f"class folders in the parts {listed(tops)}"
    return why


def checked(given: Given, samples: list[Sample], prefix: str, alone: bool = True) -> list[Sample]:
    """`samples` of the class folders below `prefix`, once each is seen to hold some.

    Raises UserError for an empty class folder and, where the split stands `alone`, for a single class.
    """
    classes = sorted({sample.label for sample in samples})
    if len(classes) < 2 and alone:
        found = f"only {classes[0]}/" if classes else "none"
        raise UserError(
            f"data.root={given.place(prefix)}: two or more class folders of images are needed (CLASS/*.jpg), found {found}; add "
            "another class"
        )
    with_images = set(folders_of(given.images, prefix))
    for folder in [*folders_of(given.files.names, prefix), *_empty_folders(os.path.join(given.files.origin, prefix))]:
        if folder not in with_images and folder not in NO_CLASS and not _of_notes(folder):
            inside = [kind for kind, names in given.unread.items() if any(name.startswith(f"{prefix}{folder}/") for name in names)]
            others = f" but {'; '.join(inside)}" if inside else ""
            raise UserError(
                f"data.root={given.files.origin}: class folder {prefix}{printable(folder)}/ holds no image{others}; remove it or fill it"
            )
    return samples


def _empty_folders(place: str) -> list[str]:
    """Folders directly below a folder on the disk that hold nothing, or hidden files alone."""
    folders = [entry for entry in os.scandir(place) if entry.is_dir() and not is_hidden(entry.name)] if os.path.isdir(place) else []
    return sorted(entry.name for entry in folders if all(map(is_hidden, os.listdir(entry))))


def _of_notes(folder: str) -> bool:
    """Whether a folder without images is named as one for annotations and the like."""
    return not meaning(folder) or set(tokens(folder)) <= NOTES
