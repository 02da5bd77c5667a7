"""Understand the layout of a set of images from their folders and from the tables beside them."""

from __future__ import annotations

import os
from collections import defaultdict

from distalex.data.files.kinds import Kinds, without_suffix
from distalex.data.files.tree import Files, printable
from distalex.data.layouts.arrays import is_array_file
from distalex.data.layouts.beside import label_by_tables, split_by_lists
from distalex.data.layouts.class_folders import find_classes
from distalex.data.layouts.file_names import by_file_names, by_synsets
from distalex.data.layouts.folders import (
    NO_CLASS,
    common_folder,
    copies,
    find_splits,
    folders_below,
    folders_of,
    samples_in,
    without_masks,
)
from distalex.data.layouts.given import Asked, Given
from distalex.data.layouts.names import UNLABELLED, Layout, Sample, split_in
from distalex.data.layouts.published import published_layout
from distalex.data.layouts.split_folders import by_split_folders
from distalex.data.layouts.webdataset import is_webdataset, webdataset
from distalex.errors import UserError

NOT_READ = (
    "and what lies beside it are no arrays that are read; name one .npz file of x_train, y_train, x_test and y_test, images (n, height, "
    "width, 3) uint8 and labels (n,), or write image files into class folders"
)
"""Of arrays in an unknown form, and the ways out."""


def understand(files: Files, kinds: Kinds, asked: Asked) -> Layout:
    """The labelled images of `files` by split. Raises UserError, with what was found and both ways out, where no layout fits."""
    if not kinds.images:
        unread = "".join(f"; {len(names):,} of {kind}" for kind, names in kinds.unread.items())
        arrays = next((name for name in files.names if is_array_file(name)), None)
        if arrays:
            inside = not os.path.isfile(os.path.join(files.origin, arrays))
            why = "is read outside of archives alone; unpack them and name the folder" if inside else NOT_READ
            raise UserError(f"data.root={files.origin}: {printable(arrays)} {why}")
        example = f", e.g. {printable(files.names[0])}" if files.names else ""
        raise UserError(
            f"data.root={files.origin}: none of its {len(files.names):,} files is an image (.jpg, .png, …){example}{unread}; name another "
            "folder"
        )
    if asked.class_from == "auto" and not asked.labels:
        if is_webdataset(files, kinds.images):
            return Layout("WebDataset shards" if files.archives else "pairs of KEY.jpg and KEY.cls", webdataset(files))
        if layout := published_layout(files, kinds.images, kinds.others):
            return layout
    images, masks = without_masks(kinds.images)
    layout = _by_folders(Given(files, images, kinds.others, kinds.unread, asked))
    if masks:
        layout.left_out["masks of other images"] = masks
    return layout


def _by_folders(given: Given) -> Layout:
    """Images by what their folders stand for: splits, or classes, or neither."""
    prefix = common_folder(given.images)
    tops = folders_of(given.images, prefix)
    splits = find_splits(given.files, given.images, prefix)
    if given.asked.class_from == "file_name":
        return by_file_names(given, prefix, splits)
    if splits:
        return by_split_folders(given, prefix, splits)
    if given.asked.labels:
        return label_by_tables(given)
    if len(tops) == 1 and split_in(tops[0]) == "train":
        prefix += f"{tops[0]}/"
    inside = given.below(prefix)
    tops = folders_of(inside, prefix)
    loose = [name for name in inside if "/" not in name[len(prefix) :]]
    if not tops or (loose and len(tops) == 1 and given.asked.class_from == "auto"):
        return _by_tables(given, prefix, "")
    return _by_class_folders(given, inside, prefix, tops)


def _by_class_folders(given: Given, inside: list[str], prefix: str, tops: list[str]) -> Layout:
    """Class folders, perhaps with lists of splits beside them; where the folders are no classes, what tables say."""
    if given.asked.class_from == "auto" and (splits := _splits_in_classes(inside, prefix)):
        return Layout("class folders with a folder for each split in them", splits)
    left_out = {}
    no_class = NO_CLASS | dict.fromkeys(copies(inside, prefix, tops), "the same class folders again")
    if given.asked.class_from == "auto":
        no_class |= {top: f"images without a class, as {top}/ is named" for top in tops if top.lower() in UNLABELLED}
    for top in sorted(set(tops) & {*no_class}):
        left_out[no_class[top]] = given.below(f"{prefix}{top}/")
        inside = [name for name in inside if not name.startswith(f"{prefix}{top}/")]
    found = find_classes(given, inside, prefix)
    if isinstance(found, str):
        return _by_tables(given, prefix, found)
    samples, title = found
    deeper = {os.path.dirname(sample.name) for sample in samples}
    classes = {sample.label for sample in samples}
    notes = []
    if title == "class folders" and len(deeper) > len(classes):
        below = f"{len(deeper):,} folders, such as {min(deeper)}/, are together {len(classes):,} classes"
        notes = [f"{below}; each is one with data.class_from=last_folder"]
    layout = Layout(title, {"all": samples}, left_out, notes)
    return layout if given.asked.class_from != "auto" else split_by_lists(given, layout)


def _splits_in_classes(inside: list[str], prefix: str) -> dict[str, list[Sample]] | None:
    """Splits where every class folder has a folder for each: `cat/train/1.jpg`; None where not."""
    below = folders_below(inside, prefix)
    words = {folder: split_in(folder) for folders in below.values() for folder in folders}
    test = "test" if "test" in words.values() else "val"
    flat = all(name.count("/", len(prefix)) == 2 for name in inside)
    if not flat or None in words.values() or not {"train", test} <= set(words.values()) or len(set(map(frozenset, below.values()))) > 1:
        return None
    splits: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples_in(inside, len(prefix), "top_folder"):
        word = words.get(sample.name[len(prefix) :].split("/")[1])
        if word in ("train", test):
            splits["train" if word == "train" else "test"].append(sample)
    return dict(splits)


def _by_tables(given: Given, prefix: str, why: str) -> Layout:
    """Images labelled by tables beside them. Raises UserError, with `why` folders are no classes, where there are none."""
    layout = label_by_tables(given)
    if layout.splits:
        return layout
    if not why and (samples := by_synsets(given.images)):
        return Layout("file names with ImageNet's synsets", {"all": samples})
    others = f"; none of the {len(given.others):,} other files names the images" if given.others else ""
    looked = "".join(f"; {note}" for note in layout.notes) or others
    if why:
        tops = folders_of(given.images, prefix)
        example = next((top for top in tops if folders_of(given.images, f"{prefix}{top}/")), None)
        place = f"point data.root at one of them, e.g. {given.place(f'{prefix}{example}')}, or " if example else ""
        raise UserError(
            f"data.root={given.files.origin}: {why}, so that they are no classes, and no table beside them has the classes{looked}; "
            f"{place}put a table of path,label there, or take them for classes all the same with data.class_from=top_folder (the "
            "innermost: last_folder)"
        )
    only = f" (only {prefix.rstrip('/').rpartition('/')[2]}/)" if prefix else ""
    raise UserError(
        f"data.root={given.files.origin}: two or more class folders of images are needed (CLASS/*.jpg){only}, or names that begin with "
        f"ImageNet's synsets (n01440764_….JPEG), or a table of paths and labels (.csv); found {printable(given.images[0])}{looked}"
        f"{_boxes(given)}; name a table with data.labels=FILE, or take classes from names such as cat.1.jpg with data.class_from=file_name"
    )


def _boxes(given: Given) -> str:
    """A remark where files beside the images look like the boxes that object detection needs; else an empty text."""
    stems = {without_suffix(os.path.basename(name)) for name in given.images}
    found = {os.path.splitext(os.path.basename(name))[0] for name in given.others if name.lower().endswith((".txt", ".xml"))}
    alike = 2 * len(stems & found) > len(stems)
    return ", with a .txt or .xml file for each image, which may be boxes of objects, and whole images are classified here" if alike else ""
