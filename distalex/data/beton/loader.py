"""FFCV's loader of given batches, with decoders that are compiled once, and threads that end and report failures.

Imports FFCV, and so is itself imported only where a prepared file is opened, after `import_ffcv`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader
from ffcv.loader.epoch_iterator import EpochIterator
from ffcv.pipeline.compiler import Compiler
from ffcv.transforms import ToTensor
from torch import Tensor

from distalex.data.beton.decoder import PreparedImages, load_library
from distalex.errors import UserError


class Epoch(EpochIterator):
    """FFCV's reading thread, made to report its failure to the reader, and to end on request."""

    failure: BaseException | None = None

    def run(self) -> None:
        """Fill batches until the last; keep what fails for `__next__`."""
        try:
            super().run()
        except BaseException as failure:
            self.failure = failure
            self.output_queue.put(None)

    def run_pipeline(self, *batch: Any) -> tuple[Tensor, ...]:
        """Fill one batch, unless the thread is to end."""
        if self.terminate_event.is_set():  # FFCV checks this only when its queue is full
            raise StopIteration
        return super().run_pipeline(*batch)

    def __next__(self) -> tuple[Tensor, Tensor]:
        try:
            return super().__next__()
        except StopIteration:
            if self.failure is not None:
                raise UserError(f"{self.loader.fname}: FFCV cannot read it ({self.failure}); prepare it again") from self.failure
            raise

    def stop(self) -> None:
        """End the thread, wait for that, and leave its buffers to the next epoch's."""
        self.close()
        while self.is_alive():
            if not self.output_queue.empty():
                self.output_queue.get_nowait()
            self.join(timeout=0.01)
        if not self.loader.graph.spare:
            self.loader.graph.spare.append(self.memory_allocations)

    def close(self) -> None:
        """Give FFCV's memory back, once."""
        super().close()
        self.closed = True  # FFCV never sets it, and would give its memory back twice


class Batches:
    """Batches of any sizes for FFCV, which takes slice `[i * size : (i + 1) * size]` of its order for batch i."""

    def __init__(self, batches: Sequence[np.ndarray], size: int) -> None:
        self.batches, self.size = batches, size

    def __len__(self) -> int:
        return len(self.batches) * self.size

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.batches[part.start // self.size]


class Buffers:
    """Stands in for FFCV's graph of operations, whose buffers it would allocate and pin anew for every epoch: 0.1 s for a gigabyte."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.spare: list[Any] = []
        """Buffers of an epoch that has ended."""

    def allocate_memory(self, batch_size: int, batches_ahead: int) -> Any:
        """What FFCV calls at the start of an epoch, always with the same sizes."""
        return self.spare.pop() if self.spare else self.graph.allocate_memory(batch_size, batches_ahead)


class BatchLoader(Loader):
    """FFCV's loader of the images in `stored`."""

    stored: PreparedImages

    def over(self, batches: Sequence[np.ndarray]) -> Epoch:
        """A started thread that reads these batches of sample numbers."""
        return Epoch(self, Batches(batches, self.batch_size))


class Pixels(SimpleRGBImageDecoder):
    """Decodes images in place of FFCV's decoder."""

    def __init__(self, stored: PreparedImages, workers: int) -> None:
        super().__init__()
        self.stored, self.workers = stored, workers

    def generate_code(self) -> Callable[..., np.ndarray]:
        """What FFCV calls for each batch."""
        return lambda batch, out, *_: self.stored.decode(batch, out, self.workers)


class Labels(IntDecoder):
    """Looks labels up in place of FFCV's decoder."""

    def __init__(self, stored: PreparedImages) -> None:
        super().__init__()
        self.stored = stored

    def generate_code(self) -> Callable[..., np.ndarray]:
        """What FFCV calls for each batch."""
        return lambda batch, out, *_: np.take(self.stored.labels, batch, out=out[:, 0])


def open_loader(paths: Sequence[Path], largest_batch: int, workers: int) -> BatchLoader:
    """A loader of prepared files of one size, numbered through, with `workers` threads besides FFCV's own."""
    load_library()
    stored = PreparedImages(paths)
    Compiler.set_enabled(False)  # our decoders are compiled already
    try:
        loader = BatchLoader(
            str(paths[0]),
            batch_size=largest_batch,
            num_workers=workers,
            os_cache=True,
            drop_last=False,
            batches_ahead=2,
            pipelines={"image": [Pixels(stored, workers), ToTensor()], "label": [Labels(stored), ToTensor()]},
        )
    finally:
        Compiler.set_enabled(True)
    loader.stored, loader.graph = stored, Buffers(loader.graph)
    return loader
