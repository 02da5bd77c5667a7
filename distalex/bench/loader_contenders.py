"""The contenders of `bench loader`.

`python -m distalex.bench.loader_contenders NAME FOLDER SECONDS` loads images with one of them and prints its rate as JSON.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalex.errors import UserError

if TYPE_CHECKING:  # a contender's imports count towards the time to its first batch
    import numpy as np

    from distalex.bench.loader_files import LoaderTask
    from distalex.data.readers import FFCVReader, Reading

Epoch = Callable[[int], Iterator[Any]]
"""Gives the batches of an epoch by its number; a batch's first item is its images."""

SETTLING = 4  # untimed batches per worker: what loaders have read ahead would count as read at once


def main() -> None:
    """Measure the contender that the command line names."""
    start = time.perf_counter()
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    from distalex.bench.loader_files import LoaderTask

    task = LoaderTask.load(folder)
    batches = endless(CONTENDERS[name](task, folder))
    print(json.dumps(measure_rate(batches, task.workers, seconds, start)), flush=True)
    if not multiprocessing.active_children():
        os._exit(0)  # threads that read ahead would continue to the end of a long epoch


def endless(epoch: Epoch) -> Iterator[Any]:
    """The batches of `epoch(0)`, `epoch(1)`, …"""
    return itertools.chain.from_iterable(map(epoch, itertools.count()))


def measure_rate(batches: Iterator[Any], workers: int, seconds: float, start: float) -> dict[str, float]:
    """Images/s of `batches` over `seconds` at least, and the seconds from `start` to the first batch.

    The number of timed batches is a multiple of `workers`, because workers that each fill a batch finish them together.
    """
    next(batches)
    first = time.perf_counter() - start
    for _ in range(SETTLING * workers - 1):
        next(batches)
    images = number = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or number < 4 * workers or number % workers:
        images += len(next(batches)[0])
        number += 1
    return {"images_per_second": images / elapsed, "seconds": elapsed, "images": images, "first_batch_seconds": first}


def ffcv(task: LoaderTask, folder: Path) -> Epoch:
    """FFCV alone, as in its documentation: uint8 images in its own random order."""
    import numpy as np
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Squeeze, ToTensor

    loader = Loader(
        str(folder / "images.beton"),
        batch_size=task.batch,
        num_workers=task.workers,
        os_cache=True,
        order=OrderOption.RANDOM,
        indices=np.tile(np.arange(task.count), task.epoch_size // task.count),
        drop_last=False,
        batches_ahead=2,  # as in our reader; with FFCV's default of 3 a larger ring of batches leaves the processor's caches sooner
        pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()], "label": [IntDecoder(), ToTensor(), Squeeze(1)]},
    )
    return lambda _: iter(loader)


class _Repeated:
    """A reader of `count` images that occur several times in an epoch."""

    def __init__(self, reader: FFCVReader, count: int) -> None:
        self.reader, self.count = reader, count

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        return self.reader.read([batch % self.count for batch in batches])

    def all_labels(self) -> np.ndarray:
        raise NotImplementedError("an order by class is not measured")


def _open_reader(task: LoaderTask, folder: Path) -> _Repeated:
    from distalex.data.readers import FFCVReader

    return _Repeated(FFCVReader([folder / "images.beton"], task.batch, task.workers), task.count)


def reader(task: LoaderTask, folder: Path) -> Epoch:
    """distalex's reader over its keyed order: uint8 images."""
    from distalex.data import order

    own = _open_reader(task, folder)
    return lambda epoch: own.read([step.samples for step in order.training_steps(task.epoch_size, task.batch, 0, epoch, 0, 1)])


def input_(task: LoaderTask, folder: Path) -> Epoch:
    """distalex's input pipeline, as in a training run: random crop, mirror, normalising, and resizing where the sizes differ."""
    import torch

    from distalex.config.data import DataConfig
    from distalex.data.augment.augmentation import Augmentation
    from distalex.data.augment.statistics import Statistics
    from distalex.data.pipeline import Split
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.topology import Topology

    device = torch.device("cpu")
    shares = {"crop": task.crop / task.stored, "pad": task.margin / task.stored}
    config = DataConfig(name="folder", root=".", image_size=task.image_size, augment="flip_crop", normalize="standard", **shares)
    dtype = torch.bfloat16 if task.precision == "bf16" else torch.float32
    augmentation = Augmentation(config, task.stored, Statistics(task.mean, task.covariance), 0, device, dtype)
    return Split(_open_reader(task, folder), task.epoch_size, task.batch, augmentation, Mesh(Topology(), device), 0).train


def dataloader(task: LoaderTask, folder: Path) -> Epoch:
    """PyTorch's DataLoader over torchvision's ImageFolder of the original files, with a process for each core."""
    from torch.utils.data import DataLoader, RandomSampler
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    to_stored = [transforms.Resize(task.stored), transforms.CenterCrop(task.stored)]
    dataset = ImageFolder(str(folder / "original"), transforms.Compose([*to_stored, *_transforms(task)]))
    if len(dataset) != task.count:
        raise UserError(f"{folder / 'original'}: {len(dataset)} images where {task.count} were written")
    order = RandomSampler(dataset, num_samples=task.epoch_size)
    loader = DataLoader(dataset, task.batch, sampler=order, num_workers=task.workers, persistent_workers=True)
    return lambda _: iter(loader)


def _transforms(task: LoaderTask) -> list[Any]:
    """torchvision's transforms from a stored square (PIL) to the network's input."""
    import numpy as np
    import torch
    from torchvision import transforms

    std = np.sqrt(np.diag(np.array(task.covariance)))
    resize = [transforms.Resize(task.image_size)] if task.image_size != task.crop else []
    steps = [
        *(transforms.RandomCrop(task.crop, padding=task.margin or None), transforms.RandomHorizontalFlip(), *resize),
        *(transforms.ToTensor(), transforms.Normalize([mean / 255 for mean in task.mean], (std / 255).tolist())),
    ]
    if task.precision == "bf16":
        steps.append(transforms.ConvertImageDtype(torch.bfloat16))
    return steps


CONTENDERS: dict[str, Callable[[LoaderTask, Path], Epoch]] = {
    "ffcv": ffcv,
    "reader": reader,
    "input": input_,
    "dataloader": dataloader,
}

if __name__ == "__main__":
    main()
