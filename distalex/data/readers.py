"""Ways to read the samples that an order names: FFCV, torchvision's DataLoader, from memory, and from nowhere.

Each gives the same uint8 images (n, side, side, 3) and int64 labels (n,); everything random comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distalex import random
from distalex.data.beton.ffcv import import_ffcv
from distalex.data.sources.source import BadImage, Source


class Reader(Protocol):
    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of each batch of sample numbers. A batch is valid until the next one is asked for."""
        ...


class FFCVReader:
    """Reads prepared files with FFCV: a thread that decodes ahead, with `workers` helpers."""

    def __init__(self, paths: Sequence[Path], largest_batch: int, workers: int) -> None:
        """`paths`: the file, or the several that a split is spread over, in order."""
        import_ffcv()
        from distalex.data.beton.loader import open_loader

        self.loader = open_loader(paths, largest_batch, workers)

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises UserError where FFCV's thread fails, instead of waiting for it forever."""
        filled = [batch for batch in batches if len(batch)]
        iterator = iter(self.loader.over(filled)) if filled else iter(())
        try:
            for batch in batches:
                yield next(iterator) if len(batch) else empty_batch(self.loader.stored.side)
        finally:
            if filled:
                iterator.stop()


def empty_batch(side: int) -> tuple[Tensor, Tensor]:
    return torch.empty((0, side, side, 3), dtype=torch.uint8), torch.empty(0, dtype=torch.int64)


class CachedReader:
    """All images of a split in memory, of the host or of the device, where reading is indexing."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        """`images`: (n, side, side, 3) uint8; `labels`: (n,)."""
        self.images, self.labels = images, labels

    @classmethod
    def of(
        cls, reader: Reader, count: int, side: int, batch: int, device: torch.device, progress: Callable[[int, int], None]
    ) -> CachedReader:
        """Reads all that `reader` has into the memory of `device`, `batch` images at a time."""
        images = torch.empty((count, side, side, 3), dtype=torch.uint8, device=device)
        labels = torch.empty(count, dtype=torch.int64, device=device)
        parts = [np.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
        for part, (batch_images, batch_labels) in zip(parts, reader.read(parts), strict=True):
            images[part[0] : part[-1] + 1], labels[part[0] : part[-1] + 1] = batch_images.to(device), batch_labels.to(device)
            progress(int(part[-1]) + 1, count)
        return cls(images, labels)

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            index = torch.from_numpy(batch).to(self.images.device, non_blocking=True)
            yield self.images.index_select(0, index), self.labels.index_select(0, index)


class TorchvisionReader:
    """Reads the images themselves with PyTorch's DataLoader; needs neither FFCV nor preparing."""

    def __init__(self, source: Source, workers: int) -> None:
        self.source, self.workers = source, workers

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            _Images(self.source),
            batch_sampler=[batch.tolist() for batch in batches if len(batch)],
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,  # a source holds open files and functions
        )
        iterator = iter(loader)
        try:
            for batch in batches:
                yield next(iterator) if len(batch) else empty_batch(self.source.side)
        except BadImage as error:  # of a worker, with its traceback: the last line says it
            last = str(error).strip().splitlines()[-1]
            raise BadImage(last.removeprefix(f"{BadImage.__module__}.{BadImage.__name__}: ")) from None


class _Images(Dataset):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.source.image(sample).copy()), int(self.source.labels[sample])


class SyntheticReader:
    """The same noise for every image, with the right labels: measures everything but reading."""

    def __init__(self, labels: np.ndarray, side: int, largest_batch: int) -> None:
        self.labels = torch.from_numpy(labels)
        pixels = random.bits(random.key(0, "noise"), np.arange(largest_batch * side * side * 3))
        self.images = torch.from_numpy(pixels.astype(np.uint8)).view(largest_batch, side, side, 3)

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            yield self.images[: len(batch)], self.labels[torch.from_numpy(batch)]
