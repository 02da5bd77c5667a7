"""The reader stage: stored images of given samples, with FFCV, PyTorch's DataLoader, from memory, or from nowhere (noise).

Each gives the same uint8 images (n, side, side, 3) and int64 labels (n,); everything random comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distalex import random
from distalex.data.beton.ffcv import import_ffcv
from distalex.data.source import BadImage, Source

Reading = Generator[tuple[Tensor, Tensor], None, None]
"""Images (n, side, side, 3) uint8 and labels (n,) int64, batch after batch, each valid until the next one is asked for."""


class Reader(Protocol):
    """Reads stored images by the numbers of their samples."""

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        """Images and labels of each batch of sample numbers (n,) int64."""
        ...

    def all_labels(self) -> np.ndarray:
        """Classes (count,) int64 of all samples."""
        ...


class FFCVReader:
    """Reads prepared files with FFCV, in a thread that decodes ahead."""

    def __init__(self, paths: Sequence[Path], largest_batch: int, workers: int) -> None:
        """`paths`: the file of a split, or all of its files in order; `workers`: threads that decode."""
        import_ffcv()
        from distalex.data.beton.loader import open_loader

        self.loader = open_loader(paths, largest_batch, workers)

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        """See `Reader.read`. Raises UserError where FFCV's thread fails, instead of waiting for it forever."""
        filled = [batch for batch in batches if len(batch)]
        iterator = iter(self.loader.over(filled)) if filled else iter(())
        try:
            for batch in batches:
                yield next(iterator) if len(batch) else empty_batch(self.loader.stored.side)
        finally:
            if filled:
                iterator.stop()

    def all_labels(self) -> np.ndarray:
        """See `Reader.all_labels`."""
        return self.loader.stored.labels.astype(np.int64)


def empty_batch(side: int) -> tuple[Tensor, Tensor]:
    """Images (0, side, side, 3) uint8 and labels (0,) int64."""
    return torch.empty((0, side, side, 3), dtype=torch.uint8), torch.empty(0, dtype=torch.int64)


class CachedReader:
    """Reads by indexing from all images of a split in memory, of the host or of the device."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        """`images`: (n, side, side, 3) uint8; `labels`: (n,)."""
        self.images, self.labels = images, labels

    @classmethod
    def of(
        cls, reader: Reader, count: int, side: int, batch: int, device: torch.device, progress: Callable[[int, int], None]
    ) -> CachedReader:
        """Read all `count` images of `reader` into the memory of `device`, `batch` at a time."""
        images = torch.empty((count, side, side, 3), dtype=torch.uint8, device=device)
        labels = torch.empty(count, dtype=torch.int64, device=device)
        batches = [np.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
        for samples, (batch_images, batch_labels) in zip(batches, reader.read(batches), strict=True):
            rows = slice(int(samples[0]), int(samples[-1]) + 1)
            images[rows], labels[rows] = batch_images.to(device), batch_labels.to(device)
            progress(rows.stop, count)
        return cls(images, labels)

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        """See `Reader.read`."""
        for batch in batches:
            index = torch.from_numpy(batch).to(self.images.device, non_blocking=True)
            yield self.images.index_select(0, index), self.labels.index_select(0, index)

    def all_labels(self) -> np.ndarray:
        """See `Reader.all_labels`."""
        return self.labels.cpu().numpy()


class TorchvisionReader:
    """Reads the original images with PyTorch's DataLoader; needs neither FFCV nor prepared files."""

    def __init__(self, source: Source, workers: int, shares_memory: bool = True) -> None:
        """`workers`: processes that read; `shares_memory`: whether they hand batches over in shared memory, else through pipes."""
        self.source, self.workers, self.shares_memory = source, workers, shares_memory

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        """See `Reader.read`. Raises BadImage, a UserError, for an unreadable image."""
        loader = DataLoader(
            _Images(self.source),
            batch_sampler=[batch.tolist() for batch in batches if len(batch)],
            num_workers=self.workers,
            generator=torch.Generator(),  # of seeds that nothing draws from: PyTorch's default generator stays as it is
            multiprocessing_context="fork" if self.workers else None,  # a source holds open files and functions
            collate_fn=None if self.shares_memory else _arrays,  # PyTorch shares tensors only
        )
        iterator = iter(loader)
        try:
            for batch in batches:
                images, labels = next(iterator) if len(batch) else empty_batch(self.source.side)
                yield torch.as_tensor(images), torch.as_tensor(labels)
        except BadImage as error:  # from a worker it has the traceback, and then the message as its last line
            last = str(error).strip().splitlines()[-1]
            raise BadImage(last.removeprefix(f"{BadImage.__module__}.{BadImage.__name__}: ")) from None

    def all_labels(self) -> np.ndarray:
        """See `Reader.all_labels`."""
        return np.asarray(self.source.labels, dtype=np.int64)


def _arrays(samples: list[tuple[Tensor, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A batch as arrays: images (n, side, side, 3) and labels (n,)."""
    return np.stack([image.numpy() for image, _ in samples]), np.array([label for _, label in samples])


class _Images(Dataset):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.source.image(sample).copy()), int(self.source.labels[sample])


class SyntheticReader:
    """Gives the same noise for every image, with the right labels, to measure everything but reading."""

    def __init__(self, labels: np.ndarray, side: int, largest_batch: int) -> None:
        self.labels = torch.from_numpy(labels)
        pixels = random.bits(random.key(0, "noise"), np.arange(largest_batch * side * side * 3))
        self.images = torch.from_numpy(pixels.astype(np.uint8)).view(largest_batch, side, side, 3)

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        """See `Reader.read`."""
        for batch in batches:
            yield self.images[: len(batch)], self.labels[torch.from_numpy(batch)]

    def all_labels(self) -> np.ndarray:
        """See `Reader.all_labels`."""
        return self.labels.numpy()


def read_pairs(reader: Reader, batches: Sequence[np.ndarray], partners: Callable[[np.ndarray], np.ndarray], pinned: bool) -> Reading:
    """Each batch with the samples that its own are mixed with: images (n, 2, side, side, 3) and labels (n, 2), own first.

    `partners` gives these for sample numbers (n,); `pinned` is for copying to a GPU.
    """
    in_turn = [samples for batch in batches for samples in (batch, partners(batch))]
    with closing(reader.read(in_turn)) as reading:
        for own in reading:
            pairs = [tensor.new_empty((len(tensor), 2, *tensor.shape[1:]), pin_memory=pinned and not tensor.is_cuda) for tensor in own]
            for pair, tensor in zip(pairs, own, strict=True):  # now, as a batch is valid until the next one is asked for
                pair[:, 0] = tensor
            for pair, tensor in zip(pairs, next(reading), strict=True):
                pair[:, 1] = tensor
            yield pairs[0], pairs[1]
