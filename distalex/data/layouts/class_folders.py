"""Class folders, checked: none is empty, and there are two or more."""

from __future__ import annotations

from distalex.data.files.tree import printable
from distalex.data.layouts.folders import NO_CLASS, folders_of
from distalex.data.layouts.given import Given
from distalex.data.layouts.names import MASK, RENDERING, Sample, meaning, tokens
from distalex.errors import UserError

NOTES = (
    MASK
    | RENDERING
    | {"meta", "metadata", "lists", "list", "devkit", "docs", "doc", "readme", "json", "csv", "info", "misc", "code", "scripts"}
)


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
    for folder in folders_of(given.files.names, prefix):
        if folder not in with_images and folder not in NO_CLASS and not _of_notes(folder):
            raise UserError(
                f"data.root={given.files.origin}: class folder {prefix}{printable(folder)}/ holds no image that is read; remove it or "
                "fill it"
            )
    return samples


def _of_notes(folder: str) -> bool:
    """Whether a folder without images is named as one for annotations and the like."""
    return not meaning(folder) or set(tokens(folder)) <= NOTES
