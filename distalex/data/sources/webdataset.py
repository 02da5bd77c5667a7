"""WebDataset's pairs of an image and its label."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence

from distalex.data.images import is_image
from distalex.data.sources.splits import TEST, TRAIN, Sample, Splits, _split_word
from distalex.data.sources.tree import Files
from distalex.errors import UserError

LABEL_SUFFIXES = (".cls", ".json", ".txt")


def _is_webdataset(files: Files, images: Sequence[str]) -> bool:
    """Whether most of the first images have a label file beside them that differs in its suffix alone.

    In class folders a .txt or .json is a caption or something else; the folder is the class.
    """
    flat = files.archives or len({os.path.dirname(name) for name in images[:1000]}) == 1
    suffixes = LABEL_SUFFIXES if flat else LABEL_SUFFIXES[:1]
    others = {name for name in files.names if name.lower().endswith(suffixes)}
    keys = [_key(name) for name in images[:16]]
    return 2 * sum(any(key + suffix in others for suffix in suffixes) for key in keys) > len(keys)


def _key(name: str) -> str:
    """WebDataset's key of a file: its path up to the first dot of its name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def webdataset(files: Files) -> Splits:
    """Pairs `KEY.jpg` and `KEY.cls`, `KEY.json` (its `label`, `cls` or `class`) or `KEY.txt`; splits by the shards' names.

    Raises UserError where an image has no label.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        key = _key(name)
        groups[key][name[len(key) :].lower()] = name
    labelled: list[tuple[str, str]] = []
    for parts in groups.values():
        image = next((name for suffix, name in parts.items() if is_image(suffix)), None)
        if image is not None:
            labelled.append((image, _label_of_pair(files, image, parts)))
    if not labelled:
        raise UserError(f"data.root={files.origin}: no pairs of KEY.jpg and KEY.cls are there; WebDataset's shards have them")
    splits: Splits = defaultdict(list)
    for name, label in labelled:
        word = next((word for part in name.split("/")[:-1] if (word := _split_word(files, part))), None)
        splits["train" if word in TRAIN else "test" if word in TEST else "all"].append(Sample(name, label))
    if set(splits) == {"train", "test"}:
        return dict(splits)
    return {"all": [sample for split in splits.values() for sample in split]}


def _label_of_pair(files: Files, image: str, parts: dict[str, str]) -> str:
    for suffix in LABEL_SUFFIXES:
        if suffix not in parts:
            continue
        name = parts[suffix]
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
                f"{files.where(name)}: holds no label ({str(error) or 'no key label, cls or class'}); mend it or leave it out"
            ) from None
        if text and "\n" not in text:
            return text
        raise UserError(f"{files.where(name)}: a label is one line of text, found {text[:40]!r}")
    raise UserError(f"{files.where(image)}: has no label beside it ({', '.join(LABEL_SUFFIXES)}); add one or leave the image out")
