"""Opens readers of a data set's splits: of prepared files, original images or noise, perhaps with all images in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from distalex.config.data import DataConfig
from distalex.console import bytes_text
from distalex.data.augment.statistics import Statistics
from distalex.data.beton.ffcv import why_no_ffcv
from distalex.data.beton.sidecar import Prepared, read_names
from distalex.data.contents import Contents, contents_of
from distalex.data.prepared import SPLITS, Progress, Say, is_prepared, measured_statistics, prepared_files
from distalex.data.readers import CachedReader, FFCVReader, Reader, SyntheticReader, TorchvisionReader
from distalex.data.splits import open_sources
from distalex.errors import UserError
from distalex.machine.resources import cores, free_memory, shared_memory

NOISE = Statistics((127.5,) * 3, tuple(tuple(row) for row in (np.eye(3) * 73.6**2).tolist()))
"""Colours of the synthetic loader's images, which are uniform on 0..255."""


AHEAD = 2
"""Batches that each process of a DataLoader has ready."""
SEMAPHORES = 2**16
"""Bytes of shared memory that a DataLoader's queues need, at most."""


@dataclass(frozen=True)
class Opened:
    """Readers of splits, by split, and what is common to these."""

    readers: Mapping[str, Reader]
    contents: dict[str, Contents]
    classes: tuple[str, ...]
    side: int
    """Of the stored images, in pixels."""
    statistics: Statistics
    """Of the training images."""
    resize: str
    """Which side of an image was scaled to `side`."""
    places: Mapping[str, Callable[[int], str]] = field(default_factory=dict)
    """The file of each sample, by split, where that is known."""

    @property
    def counts(self) -> dict[str, int]:
        """Images of each split."""
        return {split: sum(one.counts) for split, one in self.contents.items()}


def open_readers(config: DataConfig, largest: Mapping[str, int], workers: int, say: Say, progress: Progress) -> Opened:
    """Open the splits that `largest` names, which gives the most images that a batch of each has in this process.

    `workers`: threads or processes that read. Raises UserError where the data cannot be found, prepared or read.
    """
    if config.loader == "ffcv" or is_prepared(config):
        return _open_prepared(dict(zip(largest, prepared_files(config, list(largest), say, progress), strict=True)), largest, workers)
    sources = dict(zip(SPLITS, open_sources(config, say), strict=True))
    train = sources["train"]
    contents = {split: contents_of(sources[split], are_read=config.loader == "torchvision") for split in largest}
    if config.loader == "torchvision":
        loading = _loading_processes(workers if cores() > 1 else 0, max(largest.values()) * train.side**2 * 3, say)
        own = {split: TorchvisionReader(sources[split], *loading) for split in largest}
        places = {split: sources[split].places for split in largest}
        return Opened(own, contents, train.classes, train.side, measured_statistics(train, say), config.resize, places)
    noise = {split: SyntheticReader(sources[split].labels, train.side, size) for split, size in largest.items()}
    return Opened(noise, contents, train.classes, train.side, NOISE, config.resize)


def without_ffcv(config: DataConfig, say: Say) -> DataConfig:
    """Return `config` with torchvision's loader where FFCV, the default, cannot be imported; the images are the same.

    That is printed with `say`. Raises UserError where an option needs FFCV, as prepared files do.
    """
    reason = why_no_ffcv() if config.loader == "ffcv" and not is_prepared(config) else ""
    if not reason:
        return config
    if config.encoding != "raw" or config.skip_bad:
        option = "skip_bad=true" if config.skip_bad else f"encoding={config.encoding}"
        raise UserError(f"data.{option}: is a matter of prepared files, which need FFCV ({reason}); leave it out, or install FFCV")
    say(f"FFCV cannot be imported ({reason}): torchvision's loader reads the same images, more slowly (data.loader=torchvision)")
    return config.model_copy(update={"loader": "torchvision"})


def _loading_processes(workers: int, batch: int, say: Say) -> tuple[int, bool]:
    """How many of `workers` processes can load batches of `batch` bytes, and whether in shared memory; reports where it is too small."""
    needed, free = (AHEAD * workers + 2) * batch, shared_memory()
    if not workers or free >= needed:
        return workers, True
    can_start = free >= SEMAPHORES
    how = "batches go through pipes" if can_start else "images are loaded without these"
    say(
        f"/dev/shm has {bytes_text(free)} free and {workers} loading processes need {bytes_text(needed)}: {how}, which is slower; "
        "in Docker pass --shm-size=8g"
    )
    return workers if can_start else 0, False


def _open_prepared(prepared: Mapping[str, Prepared], largest: Mapping[str, int], workers: int) -> Opened:
    """Readers of prepared files. Raises UserError where two splits differ in classes, size or resizing."""
    train = prepared["train"].info
    if len({(one.info.classes, one.info.side, one.info.resize) for one in prepared.values()}) > 1:
        found = (f"{one.paths[0]}: {len(one.info.classes)} classes, {one.info.side} pixels, {one.info.resize}" for one in prepared.values())
        raise UserError(f"{' but '.join(found)}; prepare the two from one data set with one size")
    readers = {split: FFCVReader(one.paths, largest[split], workers) for split, one in prepared.items()}
    contents = {split: one.info.contents for split, one in prepared.items()}
    places = {split: partial(_place, one, split) for split, one in prepared.items()}
    return Opened(readers, contents, train.classes, train.side, train.statistics, train.resize, places)


def _place(prepared: Prepared, split: str, sample: int) -> str:
    """The file of a sample of prepared files, or its number where that is not known."""
    names = _names(prepared.paths, len(prepared.info))
    return names[sample] if names else f"{split} {sample}"


@lru_cache(maxsize=2)
def _names(paths: tuple[Path, ...], count: int) -> list[str]:
    return read_names(paths, count)


def cached(opened: Opened, cache: str, largest: Mapping[str, int], device: torch.device, processes: int, progress: Progress) -> Opened:
    """The same with all images read into memory, of the host (`cache` is `memory`) or of the `device`, by each of its `processes`.

    Raises UserError where they do not fit.
    """
    device = device if cache == "device" else torch.device("cpu")
    needed = sum(opened.counts.values()) * opened.side**2 * 3 * processes
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if needed > 0.9 * free:
        raise UserError(
            f"data.cache={cache}: {bytes_text(needed)} are needed for {processes} process(es), {bytes_text(free)} are free; use "
            "--data.cache=none, which leaves caching of files to the operating system"
        )
    readers: dict[str, Reader] = {}
    for split, reader in opened.readers.items():
        done = partial(progress, f"reading the {split} images into memory")
        readers[split] = CachedReader.of(reader, opened.counts[split], opened.side, largest[split], device, done)
    return replace(opened, readers=readers)
