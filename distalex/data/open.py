"""Opens the training and test images of a run, preparing them the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from distalex.config.config import Config
from distalex.config.data import DataConfig
from distalex.console import size_text
from distalex.data import order
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.statistics import Statistics
from distalex.data.batches import Split
from distalex.data.beton.sidecar import Prepared
from distalex.data.prepared import _measured, _prepared_files
from distalex.data.readers import CachedReader, FFCVReader, Reader, SyntheticReader, TorchvisionReader
from distalex.data.sources.find import open_sources
from distalex.errors import UserError
from distalex.machine.precision import arithmetic
from distalex.machine.resources import cores, free_memory
from distalex.parallel.mesh import Mesh


@dataclass
class Data:
    """The data of a run."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    statistics: Statistics
    side: int
    """Of the stored images, in pixels."""
    resize: str
    """Which of an image's sides became that."""
    tested_on: str
    """`test`, or `validation` where those images were held out of the training set."""

    def describe(self) -> str:
        counts = f"{self.train.count:,} training and {self.test.count:,} {self.tested_on} images"
        return f"{counts} of {self.side}x{self.side} in {len(self.classes)} classes"


def open_data(config: Config, mesh: Mesh, say: Callable[[str], None], progress: Callable[[str, int, int], None]) -> Data:
    """Training and test images as `config` names them, prepared by one process of each node if need be.

    Raises UserError where data cannot be found, read or prepared, or does not fit into the memory that is to hold it.
    """
    options, train = config.data, config.train
    workers = options.workers or max(1, cores() // mesh.topology.local_world_size)
    sizes = {"train": train.batch_size, "test": train.eval_batch_size or train.batch_size}
    largest = {split: order.largest_share(size, mesh.replicas, mesh.columns, train.accumulate) for split, size in sizes.items()}
    opened = _open_readers(options, largest, workers, say, progress)
    if options.cache != "none" and options.loader != "synthetic":
        device = mesh.device if options.cache == "device" else torch.device("cpu")
        _require_memory(options, opened, device, mesh.topology.local_world_size)
        opened = opened._replace(readers=[_cached(opened, number, largest, device, progress) for number in range(2)])
    dtype = arithmetic(train.precision, mesh.device)
    views = Augmentation(options, opened.side, opened.statistics, config.seed, mesh.device, dtype)
    splits = [
        Split(reader, count, size, views, mesh, config.seed, train.accumulate, options.order)
        for reader, count, size in zip(opened.readers, opened.counts, sizes.values(), strict=True)
    ]
    return Data(splits[0], splits[1], opened.classes, opened.statistics, opened.side, opened.resize, options.tested_on)


class Opened(NamedTuple):
    """What reads the training and the test split, and what is known of them."""

    readers: list[Reader]
    counts: list[int]
    classes: tuple[str, ...]
    side: int
    statistics: Statistics
    resize: str


def _open_readers(
    config: DataConfig,
    largest: dict[str, int],
    workers: int,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> Opened:
    if config.loader == "ffcv" or config.name == "beton":
        return _open_prepared(_prepared_files(config, say, progress), largest, workers)
    sources = open_sources(config)
    counts, classes, side = [len(source) for source in sources], sources[0].classes, sources[0].side
    if config.loader == "torchvision":
        readers: list[Reader] = [TorchvisionReader(source, workers if cores() > 1 else 0) for source in sources]
        return Opened(readers, counts, classes, side, _measured(sources[0], say), config.resize)
    statistics = Statistics((127.5,) * 3, tuple(tuple(row) for row in (np.eye(3) * 73.6**2).tolist()))
    noise: list[Reader] = [SyntheticReader(source.labels, side, size) for source, size in zip(sources, largest.values(), strict=True)]
    return Opened(noise, counts, classes, side, statistics, config.resize)


def _open_prepared(prepared: list[Prepared], largest: dict[str, int], workers: int) -> Opened:
    train, test = (one.info for one in prepared)
    if train.classes != test.classes or (train.side, train.resize) != (test.side, test.resize):
        made = (f"{one.paths[0]}: {len(one.info.classes)} classes, {one.info.side} pixels, {one.info.resize}" for one in prepared)
        raise UserError(f"{' but '.join(made)}; prepare the two from one data set with one size")
    readers: list[Reader] = [FFCVReader(one.paths, size, workers) for one, size in zip(prepared, largest.values(), strict=True)]
    return Opened(readers, [len(train), len(test)], train.classes, train.side, train.statistics, train.resize)


def _require_memory(config: DataConfig, opened: Opened, device: torch.device, processes: int) -> None:
    """Every process of a host holds all images."""
    needed = sum(opened.counts) * opened.side**2 * 3 * processes
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if needed > 0.9 * free:
        raise UserError(
            f"data.cache={config.cache}: {size_text(needed)} are needed for {processes} process(es), "
            f"{size_text(free)} are free; use --data.cache=none, which leaves it to the system what it keeps in memory"
        )


def _cached(
    opened: Opened, number: int, largest: dict[str, int], device: torch.device, progress: Callable[[str, int, int], None]
) -> Reader:
    split = list(largest)[number]
    done = partial(progress, f"reading the {split} images into memory")
    return CachedReader.of(opened.readers[number], opened.counts[number], opened.side, largest[split], device, done)
