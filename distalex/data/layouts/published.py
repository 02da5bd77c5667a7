"""Label files of published sets that are no tables: MATLAB's, and lists that are joined by number."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from distalex.data.files.kinds import without_suffix
from distalex.data.files.tree import Files
from distalex.data.layouts.names import Layout, Sample, split_in
from distalex.data.layouts.table import Table
from distalex.errors import UserError


def published_layout(files: Files, images: Sequence[str], others: Sequence[str]) -> Layout | None:
    """The images of a published set by its own label files; None where it is none of those that are known here."""
    by_base = {os.path.basename(name): name for name in others}
    for known, read in ((("images.txt", "image_class_labels.txt"), _cub), (("imagelabels.mat", "setid.mat"), _flowers)):
        if all(name in by_base for name in known):
            return read(files, images, by_base)
    return _dogs_and_cats(images)


def _dogs_and_cats(images: Sequence[str]) -> Layout | None:
    """Dogs vs. Cats: cat.0.jpg and dog.0.jpg, perhaps in folders of splits; numbers without a class are its test set."""
    splits: dict[str, list[Sample]] = {"train": [], "val": []}
    rest = []
    for name in images:
        stem = without_suffix(os.path.basename(name))
        if match := re.fullmatch(r"(cat|dog)\.\d+", stem):
            words = [split_in(part) for part in name.split("/")[:-1]]
            splits["val" if "val" in words or "test" in words else "train"].append(Sample(name, match[1]))
        elif stem.isdecimal():
            rest.append(name)
        else:
            return None
    where = [{os.path.dirname(sample.name) for sample in splits["train"] if sample.label == label} for label in ("cat", "dog")]
    if not where[0] & where[1]:  # none of either, or each in its class folder
        return None
    found = {"train": splits["train"], "test": splits["val"]} if splits["val"] else {"all": splits["train"]}
    return Layout("Dogs vs. Cats, classes from file names", found, {"without a class": rest} if rest else {})


def _cub(files: Files, images: Sequence[str], by_base: dict[str, str]) -> Layout:
    """CUB-200: images, classes and splits are joined by the number of the image."""

    def pairs(base: str) -> dict[str, str]:
        lines = files.read(by_base[base]).decode("utf-8", "replace").splitlines()
        return dict(line.split(maxsplit=1) for line in lines if len(line.split(maxsplit=1)) == 2)

    paths, labels = pairs("images.txt"), pairs("image_class_labels.txt")
    classes = pairs("classes.txt") if "classes.txt" in by_base else {}
    in_training = pairs("train_test_split.txt") if "train_test_split.txt" in by_base else {}
    by_end = {name[name.rfind("images/") + 7 :] if "images/" in name else name: name for name in images}
    splits: dict[str, list[Sample]] = {"train": [], "test": []}
    for number, path in paths.items():
        if path in by_end and number in labels:
            label = classes.get(labels[number], labels[number])
            splits["train" if in_training.get(number, "1").strip() == "1" else "test"].append(Sample(by_end[path], label))
    if not splits["train"]:
        raise UserError(
            f"data.root={files.origin}: images.txt names none of its images, e.g. {next(iter(paths.values()), '')}; unpack both"
        )
    return Layout("CUB-200 by its images.txt", splits if splits["test"] else {"all": splits["train"]})


def _flowers(files: Files, images: Sequence[str], by_base: dict[str, str]) -> Layout:
    """Oxford Flowers-102: the class of image_00001.jpg is the first of imagelabels.mat, and setid.mat has the numbers of each split."""
    labels = np.atleast_1d(_loaded(files, by_base["imagelabels.mat"])["labels"])
    sets = _loaded(files, by_base["setid.mat"])
    by_number = {int(match[1]): name for name in images if (match := re.search(r"image_(\d+)\.", name))}
    splits, left_out = {}, {}
    for split, key in (("train", "trnid"), ("test", "tstid"), ("val", "valid")):
        numbers = [int(number) for number in np.atleast_1d(sets[key]) if int(number) in by_number]
        splits[split] = [Sample(by_number[number], str(labels[number - 1])) for number in numbers]
    left_out = {"the validation set": [sample.name for sample in splits.pop("val")]}
    return Layout(
        "Oxford Flowers-102 by its imagelabels.mat and setid.mat", splits, {key: names for key, names in left_out.items() if names}
    )


def _loaded(files: Files, name: str) -> dict[str, Any]:
    return load_mat(files.read(name), files.where(name))


def load_mat(content: bytes, place: str) -> dict[str, Any]:
    """The variables of a MATLAB file. Raises UserError where it is none."""
    from scipy.io import loadmat

    try:
        return loadmat(BytesIO(content), squeeze_me=True)
    except Exception as error:  # a MATLAB reader fails in many ways; the remedy is one
        raise UserError(f"{place}: not a MATLAB file that is read ({' '.join(str(error).split())[:80]}); unpack it again") from None


def mat_table(content: bytes, place: str) -> Table | None:
    """The rows of Stanford's lists: `file_list` of Dogs, `annotations` with fname and class of Cars; None for another MATLAB file."""
    values = load_mat(content, place)
    if "file_list" in values:
        return Table(place, ["path"], [(number, [str(name)]) for number, name in enumerate(np.atleast_1d(values["file_list"]), 1)], "row")
    annotations = values.get("annotations")
    if annotations is None or not getattr(annotations, "dtype", np.dtype("u1")).names:
        return None
    keys = [key for key in ("fname", "relative_im_path", "class", "test") if key in annotations.dtype.names]
    rows = [(number, [str(row[key]) for key in keys]) for number, row in enumerate(np.atleast_1d(annotations), 1)]
    named = {"fname": "path", "relative_im_path": "path", "class": "class", "test": "test"}
    return Table(place, [named[key] for key in keys], rows, "row")


def names_of_classes(files: Files, others: Sequence[str], labels: set[str]) -> dict[str, str]:
    """Names of classes that a table numbers, where Stanford Cars' cars_meta.mat gives them; else empty."""
    name = next((name for name in others if os.path.basename(name) == "cars_meta.mat"), None)
    if name is None:
        return {}
    names = [str(one) for one in np.atleast_1d(_loaded(files, name)["class_names"])]
    return {label: names[int(label) - 1] for label in labels if label.isdigit() and 0 < int(label) <= len(names)}
