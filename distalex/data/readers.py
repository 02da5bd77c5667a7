"""Three ways to read the samples that a plan names, in its order: FFCV, torchvision's DataLoader, and from nowhere.

Each gives the same uint8 pictures (n, side, side, 3) and int64 labels (n,) on the CPU; everything random comes later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distalex import random
from distalex.data.beton import import_ffcv
from distalex.data.sources import Source
from distalex.errors import UserError


class Reader(Protocol):
    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures and labels of each batch of sample numbers. A batch is valid until the next one is asked for."""
        ...


class FFCVReader:
    """Reads a `.beton` with FFCV: threads that decode ahead, compiled once a process."""

    def __init__(self, path: Path, largest_batch: int, workers: int) -> None:
        self.loader = _ffcv_loader(path, largest_batch, workers)

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises UserError where FFCV's thread fails, instead of waiting for it forever."""
        filled = [batch for batch in batches if len(batch)]
        iterator = iter(self.loader.over(filled)) if filled else iter(())
        try:
            for batch in batches:
                yield next(iterator) if len(batch) else empty_batch(self.loader.side)
        finally:
            if filled:
                iterator.stop()


def empty_batch(side: int) -> tuple[Tensor, Tensor]:
    return torch.empty((0, side, side, 3), dtype=torch.uint8), torch.empty(0, dtype=torch.int64)


class _Batches:
    """Batches of any sizes, in the shape that FFCV cuts by: slice `[i * size : (i + 1) * size]` is batch i."""

    def __init__(self, batches: Sequence[np.ndarray], size: int) -> None:
        self.batches, self.size = batches, size

    def __len__(self) -> int:
        return len(self.batches) * self.size

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.batches[part.start // self.size]


def _ffcv_loader(path: Path, largest_batch: int, workers: int) -> Any:
    import_ffcv()
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader
    from ffcv.loader.epoch_iterator import EpochIterator
    from ffcv.transforms import Squeeze, ToTensor

    class Epoch(EpochIterator):
        """FFCV's reading thread, but one whose failure reaches the reader, and which ends when told to."""

        failure: BaseException | None = None

        def run(self) -> None:
            try:
                super().run()
            except BaseException as failure:
                self.failure = failure
                self.output_queue.put(None)

        def __next__(self) -> tuple[Tensor, Tensor]:
            try:
                return super().__next__()
            except StopIteration:
                if self.failure is not None:
                    raise UserError(f"{path}: FFCV cannot read it ({self.failure}); prepare it again") from self.failure
                raise

        def stop(self) -> None:
            self.close()
            while self.is_alive():
                if not self.output_queue.empty():
                    self.output_queue.get_nowait()
                self.join(timeout=0.01)

        def close(self) -> None:
            super().close()
            self.closed = True  # FFCV never sets it, and would leave its memory twice

    class KeptThreads(Loader):
        """FFCV's loader over the batches it is given."""

        def over(self, batches: Sequence[np.ndarray]) -> Epoch:
            return Epoch(self, _Batches(batches, self.batch_size))

    decoder = SimpleRGBImageDecoder()
    loader = KeptThreads(
        str(path),
        batch_size=largest_batch,
        num_workers=workers,
        os_cache=True,
        drop_last=False,
        batches_ahead=2,
        pipelines={"image": [decoder, ToTensor()], "label": [IntDecoder(), ToTensor(), Squeeze(1)]},
    )
    loader.side = int(decoder.metadata["width"].max())
    return loader


class TorchvisionReader:
    """Reads the pictures themselves with PyTorch's DataLoader; needs neither FFCV nor preparing."""

    def __init__(self, source: Source, workers: int) -> None:
        self.source, self.workers = source, workers

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            _Pictures(self.source),
            batch_sampler=[batch.tolist() for batch in batches if len(batch)],
            num_workers=self.workers,
        )
        iterator = iter(loader)
        for batch in batches:
            yield next(iterator) if len(batch) else empty_batch(self.source.side)


class _Pictures(Dataset):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.source.picture(sample).copy()), int(self.source.labels[sample])


class SyntheticReader:
    """The same noise for every picture, with the right labels: measures everything but reading."""

    def __init__(self, labels: np.ndarray, side: int, largest_batch: int) -> None:
        self.labels = torch.from_numpy(labels)
        pixels = random.bits(random.key(0, "noise"), np.arange(largest_batch * side * side * 3))
        self.images = torch.from_numpy(pixels.astype(np.uint8)).view(largest_batch, side, side, 3)

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            yield self.images[: len(batch)], self.labels[torch.from_numpy(batch)]
