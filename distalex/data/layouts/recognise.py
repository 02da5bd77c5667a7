"""Recognise what lies at a root by its content, and open it: arrays of one small size, a table, or image files in any layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distalex.config.data import DataConfig
from distalex.data.files.kinds import Kinds, sort_by_kind
from distalex.data.files.open_files import open_files
from distalex.data.files.tree import Files
from distalex.data.found import Found
from distalex.data.images import open_image
from distalex.data.layouts.arrays import open_arrays
from distalex.data.layouts.cifar import CIFAR10, CIFAR100, Cifar, find_cifar, is_cifar, read_cifar
from distalex.data.layouts.given import Asked
from distalex.data.layouts.names import Layout, common_classes
from distalex.data.layouts.parquet import is_parquet, read_parquet
from distalex.data.layouts.root_table import read_root_table
from distalex.data.layouts.table import is_table
from distalex.data.layouts.understand import understand
from distalex.data.layouts.webdataset import webdataset
from distalex.data.source import Source
from distalex.errors import UserError


def open_root(root: str, config: DataConfig) -> Found:
    """Recognise and open what lies at `root`. Raises UserError, with what was found, where it is nothing that is recognised."""
    for wanted in (CIFAR10, CIFAR100):
        for folder in (Path(root), Path(root) / wanted.folder):
            if is_cifar(wanted, folder):
                return _cifar(wanted, folder, config)
        if Path(root).is_file() and Path(root).name == wanted.archive:
            return _cifar(wanted, find_cifar(wanted, root), config)
    if arrays := open_arrays(root, config):
        return arrays
    if Path(root).is_file() and is_parquet(root):
        files, layout = read_parquet(root)
        return found_in(files, layout, config, Kinds())
    if is_table(root):
        files, layout = read_root_table(root, config.columns)
        return found_in(files, layout, config, Kinds())
    files = open_files(root)
    kinds = sort_by_kind(files)
    if not kinds.images and is_parquet(root):
        return found_in(*read_parquet(root), config, kinds)
    return found_in(files, understand(files, kinds, Asked(config.labels, config.columns, config.class_from)), config, kinds)


def open_cifar(wanted: Cifar, config: DataConfig) -> Found:
    """A CIFAR set, found or downloaded. Raises UserError where it is missing, damaged or has other classes."""
    try:
        root = find_cifar(wanted, config.root)
    except UserError as error:
        if config.root is None:
            raise
        found = _what_is_there(config.root, config)
        if found and wanted.classes and _is_whole(wanted, found):
            return found
        raise UserError(f"{error}{_described(found)}") from None
    if is_cifar(wanted, root):
        return _cifar(wanted, root, config)
    found = open_root(str(root), config)
    if not _is_whole(wanted, found):
        kind = "classes" if len(found.sources) == 2 else "classes, of one split,"
        raise UserError(
            f"data.root={root}: its {kind} are {', '.join(found.sources[0].classes[:12])}, not {wanted.title}'s in train and test; "
            "use data.name=folder for other images"
        )
    return found


def _is_whole(wanted: Cifar, found: Found) -> bool:
    """Whether what was recognised has the classes of the set in two splits."""
    return found.sources[0].classes == wanted.classes and len(found.sources) == 2


def _what_is_there(root: str, config: DataConfig) -> Found | None:
    """What lies at a root where the set that was named does not lie as expected; None where nothing is recognised."""
    try:
        return open_root(root, config)
    except UserError:
        return None


def _described(found: Found | None) -> str:
    """The end of a message: what there is instead, with the option that reads it."""
    if found is None:
        return ""
    classes = found.sources[0].classes
    return f"; there are {found.layout} of {len(classes)} classes ({', '.join(classes[:3])}, …), which data.name=folder reads"


def _cifar(wanted: Cifar, folder: Path, config: DataConfig) -> Found:
    return Found(f"{wanted.title}'s pickles", str(folder), read_cifar(wanted, folder, config.stored_size or 32))


def count_classes(config: DataConfig) -> int:
    """Number of classes that lie at `data.root`. Raises UserError as `open_root` does."""
    assert config.root is not None
    return len(open_root(config.root, config).sources[0].classes)


def open_webdataset(config: DataConfig) -> Found:
    """WebDataset's shards at `data.root`. Raises UserError where they hold no pairs of image and label."""
    assert config.root is not None  # config checks NEEDS
    files = open_files(config.root)
    return found_in(files, Layout("WebDataset shards", webdataset(files)), config, sort_by_kind(files))


def found_in(files: Files, layout: Layout, config: DataConfig, kinds: Kinds) -> Found:
    """A source for each split of a layout, whose samples are read from `files`. Raises UserError where their classes differ."""
    classes = common_classes(layout.splits, files.origin)
    sources = tuple(_source(files, layout, classes, split, config) for split in layout.splits)
    return Found(layout.title, files.origin, sources, _left_out(layout, kinds), tuple(layout.notes))


def _source(files: Files, layout: Layout, classes: tuple[str, ...], split: str, config: DataConfig) -> Source:
    numbers = {class_: number for number, class_ in enumerate(classes)}
    samples = layout.splits[split]
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
    )


def _left_out(layout: Layout, kinds: Kinds) -> Mapping[str, list[str]]:
    """Files that are left out, by reason: those of the layout, images outside of it, and kinds that are not read."""
    used = {sample.name for samples in layout.splits.values() for sample in samples}
    used |= {name for names in layout.left_out.values() for name in names}
    others = [name for name in kinds.images if name not in used]
    beside = {"images outside of this layout": others} if others else {}
    return {**{reason: names for reason, names in layout.left_out.items() if names}, **beside, **kinds.unread}
