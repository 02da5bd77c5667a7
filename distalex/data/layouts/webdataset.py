"""WebDataset: pairs of an image and its label under one key, in the tar shards of a set."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Sequence

from distalex.data.files.tree import Files
from distalex.data.images import is_image
from distalex.data.layouts.names import TEST, TRAIN, Sample, Splits, split_word
from distalex.errors import UserError

BOXES = re.compile(r"\d+( +-?[\d.]+){4,}\s*($|\n)")
"""How a line of YOLO's boxes looks: a class and four or more numbers."""
CAPTIONS = 8
"""Labels that all differ, where there are more than these, are captions."""
LABEL_SUFFIXES = (".cls", ".json", ".txt")


def is_webdataset(files: Files, images: Sequence[str]) -> bool:
    """Whether most of the first `images` have a label file under the same key.

    In class folders a .txt or .json file may be a caption, so that only .cls counts there.
    """
    flat = files.archives or len({os.path.dirname(name) for name in images[:1000]}) == 1
    suffixes = LABEL_SUFFIXES if flat else LABEL_SUFFIXES[:1]
    others = {name.lower() for name in files.names if name.lower().endswith(suffixes)}
    keys = [{_key(name).lower(), os.path.splitext(name)[0].lower()} for name in images[:16]]
    return 2 * sum(any(one + suffix in others for one in key for suffix in suffixes) for key in keys) > len(keys)


def _key(name: str) -> str:
    """WebDataset's key of a file: its path up to the first dot of its name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _groups(files: Files) -> dict[str, dict[str, str]]:
    """Files by suffix, by key; a key ends at the first dot, or at the last one where one key would have several labels: cat.0.jpg."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        key = _key(name)
        groups[key][name[len(key) :].lower()] = name
    dotted = any(sum(suffix.endswith(".cls") for suffix in suffixes) > 1 for suffixes in groups.values()) or not any(
        suffix in suffixes for suffixes in groups.values() for suffix in LABEL_SUFFIXES
    )
    if not dotted:
        return groups
    by_last: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        key, suffix = os.path.splitext(name)
        by_last[key][suffix.lower()] = name
    return by_last


def webdataset(files: Files) -> Splits:
    """Samples from pairs of `KEY.jpg` and `KEY.cls`, `KEY.json` (its `label`, `cls` or `class`) or `KEY.txt`; splits from shards' names.

    Raises UserError where there are none, or an image has no label.
    """
    labelled: list[tuple[str, str]] = []
    for suffixes in _groups(files).values():
        images = sorted((suffix.count("."), suffix) for suffix in suffixes if is_image(suffix))  # .jpg before .seg.png
        if images:
            image = suffixes[images[0][1]]
            labelled.append((image, _label_of_pair(files, image, suffixes)))
    if not labelled:
        raise UserError(f"data.root={files.origin}: holds no pairs of KEY.jpg and KEY.cls, as WebDataset has them; or use data.name=folder")
    labels = [label for _, label in labelled]
    if len(labels) > CAPTIONS and len(set(labels)) == len(labels) and any(" " in label for label in labels):
        raise UserError(
            f"{files.where(labelled[0][0])}: every label differs, e.g. {labels[0][:40]!r}, as captions do; give classes, or remove "
            "the captions"
        )
    splits: Splits = defaultdict(list)
    for name, label in labelled:
        above = name.split("/")[:-1]
        word = next((word for depth, part in enumerate(above) if (word := split_word(part, files.archives and not depth))), None)
        splits["train" if word in TRAIN else "test" if word in TEST else "all"].append(Sample(name, label))
    if set(splits) == {"train", "test"}:
        return dict(splits)
    return {"all": [sample for split in splits.values() for sample in split]}


def _label_of_pair(files: Files, image: str, suffixes: dict[str, str]) -> str:
    """The label of `image`; `suffixes` are those of its key, each with the name of its file. Raises UserError."""
    for suffix in LABEL_SUFFIXES:
        if suffix not in suffixes:
            continue
        name = suffixes[suffix]
        try:
            text = files.read(name).decode("utf-8").strip()
            if suffix == ".json":
                values = json.loads(text)
                value = next(values[key] for key in ("label", "cls", "class", "label_name") if key in values)
                if isinstance(value, bool) or not isinstance(value, str | int):
                    raise ValueError(f"a word or a number is needed, found {json.dumps(value)[:40]}")
                text = str(value)
        except (OSError, UnicodeDecodeError, ValueError, TypeError, StopIteration) as error:
            raise UserError(
                f"{files.where(name)}: holds no label ({str(error) or 'no key label, cls or class'}); fix or remove it"
            ) from None
        if suffix == ".txt" and BOXES.match(text):
            raise UserError(f"{files.where(name)}: boxes of objects, as YOLO has them, and whole images are classified here; give classes")
        if text and "\n" not in text:
            return text
        raise UserError(f"{files.where(name)}: a label is one line of text, found {text[:40]!r}; fix it")
    raise UserError(f"{files.where(image)}: has no label beside it ({', '.join(LABEL_SUFFIXES)}); add one or remove the image")
