"""Open what lies at a root, recognised by content: a table, CIFAR's pickles, class folders, ImageNet's layouts, WebDataset's pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distalex.config.data import DataConfig
from distalex.data.files.open_files import open_files
from distalex.data.files.tree import Files, printable
from distalex.data.images import is_image, open_image
from distalex.data.layouts.cifar import CIFAR10, CIFAR100, Cifar, find_cifar, is_cifar, read_cifar
from distalex.data.layouts.folders import recognise
from distalex.data.layouts.names import Splits, common_classes
from distalex.data.layouts.table import is_table, read_table
from distalex.data.source import Source
from distalex.errors import UserError


def open_root(root: str, config: DataConfig) -> tuple[Source, ...]:
    """Training and test split of what lies at `root`, or all images where there is no test set.

    Raises UserError, with what was found, where it is nothing that is recognised.
    """
    for wanted in (CIFAR10, CIFAR100):
        for folder in (Path(root), Path(root) / wanted.folder):
            if is_cifar(wanted, folder):
                return read_cifar(wanted, folder, config.side)
        if Path(root).is_file() and Path(root).name == wanted.archive:
            return read_cifar(wanted, find_cifar(wanted, root), config.side)
    if is_table(root):
        files, splits = read_table(root)
    else:
        files = open_files(root)
        splits = recognise(files, config.labels)
    return sources_of(files, splits, config)


def open_cifar(wanted: Cifar, config: DataConfig) -> tuple[Source, ...]:
    """Training and test split of a CIFAR set, found or downloaded. Raises UserError where it is missing, damaged or has other classes."""
    root = find_cifar(wanted, config.root)
    if is_cifar(wanted, root):
        return read_cifar(wanted, root, config.side)
    sources = open_root(str(root), config)
    if sources[0].classes != wanted.classes or len(sources) != 2:
        raise UserError(
            f"data.root={root}: its class folders are {', '.join(sources[0].classes[:12])}, not {wanted.title}'s; "
            "use data.name=folder for other classes"
        )
    return sources


def count_classes(config: DataConfig) -> int:
    """Number of classes that lie at `data.root`. Raises UserError as `open_root` does."""
    assert config.root is not None
    return len(open_root(config.root, config)[0].classes)


def sources_of(files: Files, splits: Splits, config: DataConfig) -> tuple[Source, ...]:
    """A source for each of `splits`, whose samples are read from `files`. Raises UserError where their classes differ."""
    return tuple(_source(files, splits, split, config) for split in splits)


def _source(files: Files, splits: Splits, split: str, config: DataConfig) -> Source:
    classes = common_classes(splits, files.origin)
    numbers = {class_: number for number, class_ in enumerate(classes)}
    samples = splits[split]
    names = [sample.name for sample in samples]
    return Source(
        config.name,
        split,
        classes,
        np.array([numbers[sample.label] for sample in samples], dtype=np.int64),
        open=lambda sample: open_image(files.read(names[sample])),
        places=lambda sample: files.where(names[sample]),
        stamps=lambda sample: files.stamp(names[sample]),
        side=config.side,
        origin=files.origin,
        note=_left_out(files, splits) if split in ("all", "train") else "",
    )


def _left_out(files: Files, splits: Splits) -> str:
    """A line on images that belong to no split, such as those beside class folders; empty where there are none."""
    used = {sample.name for samples in splits.values() for sample in samples}
    others = [name for name in files.names if is_image(name) and name not in used]
    return f"{len(others):,} image(s) at {files.origin} are left out, e.g. {printable(others[0])}" if others else ""
