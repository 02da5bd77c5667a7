"""Finds the images that a configuration names, and recognises by content what lies at a `data.root`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from distalex.config.data import DataConfig
from distalex.data.images import is_image, open_image
from distalex.data.sources.archives import open_files
from distalex.data.sources.cifar import CIFAR10, CIFAR10_CLASSES, CIFAR100, Cifar, cifar, find_cifar, is_cifar
from distalex.data.sources.digits import digits
from distalex.data.sources.folders import recognise
from distalex.data.sources.source import Source, a_share_of, hold_out
from distalex.data.sources.splits import Splits
from distalex.data.sources.splits import classes_of as classes_of_splits
from distalex.data.sources.synthetic import synthetic
from distalex.data.sources.table import is_table, read_table
from distalex.data.sources.torchvision import open_torchvision
from distalex.data.sources.tree import Files, printable
from distalex.data.sources.webdataset import webdataset
from distalex.errors import UserError


def open_sources(config: DataConfig) -> tuple[Source, Source]:
    """What `config` trains and tests on, the latter held out of the former where it says so.

    Raises UserError where they cannot be found or understood.
    """
    train, *test = list_sources(config)
    if not test:
        train, *test = hold_out(train, config.holdout)
    if config.validation:
        train, *test = hold_out(train, config.validation)
    if config.fraction < 1:
        train = a_share_of(train, config.fraction)
    return train.shuffled(), test[0].shuffled()


def classes_of(config: DataConfig) -> int | None:
    """Return the number of classes that `config` names; None where it is not known before the images are there."""
    if config.name == "synthetic":
        return config.synthetic_classes
    if config.name in ("cifar10", "cifar100", "digits"):
        return 100 if config.name == "cifar100" else 10
    try:
        if config.name == "beton":
            from distalex.data.beton.sidecar import read_prepared

            return len(read_prepared(Path(str(config.train))).info.classes)
        return len(list_sources(config)[0].classes) if config.root and config.name != "torchvision" else None
    except (UserError, OSError):
        return None


def list_sources(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split, or all images where there is no test set, in the order of their names."""
    return tuple(replace(source, resize=config.resize) for source in _listed(config))


def _listed(config: DataConfig) -> tuple[Source, ...]:
    match config.name:
        case "cifar10" | "cifar100":
            return _cifar(CIFAR10 if config.name == "cifar10" else CIFAR100, config)
        case "digits":
            return digits(config.side)
        case "synthetic":
            return synthetic(config)
        case "torchvision":
            return open_torchvision(config)
    assert config.root is not None
    return found_at(config.root, config)


def _cifar(wanted: Cifar, config: DataConfig) -> tuple[Source, ...]:
    root = find_cifar(wanted, config.root)
    if is_cifar(wanted, root):
        return cifar(wanted, root, config.side)
    sources = found_at(str(root), config)
    if sources[0].classes != CIFAR10_CLASSES or len(sources) != 2:
        raise UserError(
            f"data.root={root}: its class folders are {', '.join(sources[0].classes[:12])}, not CIFAR-10's; "
            "use data.name=folder for other classes"
        )
    return sources


def found_at(root: str, config: DataConfig) -> tuple[Source, ...]:
    """What lies at `root`, recognised by content: a table, CIFAR's pickles, class folders, ImageNet's layouts, tar archives, WebDataset.

    Raises UserError, saying what was found, where it is nothing of these.
    """
    if config.name != "webdataset":
        for wanted in (CIFAR10, CIFAR100):
            for folder in (Path(root), Path(root) / wanted.folder):
                if is_cifar(wanted, folder):
                    return cifar(wanted, folder, config.side)
            if Path(root).is_file() and Path(root).name == wanted.archive:
                return cifar(wanted, find_cifar(wanted, root), config.side)
    if is_table(root):
        files, splits = read_table(root)
    else:
        files = open_files(root)
        splits = webdataset(files) if config.name == "webdataset" else recognise(files, config.labels)
    return tuple(_of_files(files, splits, split, config) for split in splits)


def _of_files(files: Files, splits: Splits, split: str, config: DataConfig) -> Source:
    classes = classes_of_splits(splits, files.origin)
    numbers = {class_: number for number, class_ in enumerate(classes)}
    samples = splits[split]
    names = [sample.name for sample in samples]
    return Source(
        config.name,
        split,
        classes,
        np.array([numbers[sample.label] for sample in samples], dtype=np.int64),
        lambda sample: open_image(files.read(names[sample])),
        lambda sample: files.where(names[sample]),
        lambda sample: files.stamp(names[sample]),
        config.side,
        files.origin,
        note=_left_out(files, splits) if split in ("all", "train") else "",
    )


def _left_out(files: Files, splits: Splits) -> str:
    """What is said of images that belong to no split, such as those beside class folders."""
    used = {sample.name for samples in splits.values() for sample in samples}
    others = [name for name in files.names if is_image(name) and name not in used]
    return f"{len(others):,} image(s) at {files.origin} are left out, e.g. {printable(others[0])}" if others else ""
