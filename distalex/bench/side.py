"""One side of `bench loader`: `python -m distalex.bench.side NAME FOLDER SECONDS` reads the files there and prints one JSON line."""

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

if TYPE_CHECKING:  # what a side imports counts among what its first batch takes
    import numpy as np

    from distalex.bench.files import Setup
    from distalex.data.readers import FFCVReader, Reading

Epoch = Callable[[int], Iterator[Any]]
"""The batches of an epoch by its number; images are the first thing of a batch."""

SETTLING = 4  # batches of each worker that are not timed: what loaders have read ahead would count as read at once


def main() -> None:
    start = time.perf_counter()
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    from distalex.bench.files import Setup

    setup = Setup.load(folder)
    batches = endless(SIDES[name](setup, folder))
    print(json.dumps(measure(batches, setup.workers, seconds, start)), flush=True)
    if not multiprocessing.active_children():
        os._exit(0)  # threads that read ahead would go on to the end of a long epoch


def endless(epoch: Epoch) -> Iterator[Any]:
    """`epoch(0)`, `epoch(1)`, …"""
    return itertools.chain.from_iterable(map(epoch, itertools.count()))


def measure(batches: Iterator[Any], workers: int, seconds: float, start: float) -> dict[str, float]:
    """Rate of `batches` over `seconds` at least, and the seconds from `start` to the first batch.

    Timed batches are a multiple of `workers`, since workers that each fill a batch give them in bunches.
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


def ffcv_raw(setup: Setup, folder: Path) -> Epoch:
    return _bare_ffcv(setup, folder / "raw.beton")


def ffcv_jpg(setup: Setup, folder: Path) -> Epoch:
    return _bare_ffcv(setup, folder / "jpg.beton")


def distalex_raw(setup: Setup, folder: Path) -> Epoch:
    return _ours(setup, folder / "raw.beton")


def distalex_jpg(setup: Setup, folder: Path) -> Epoch:
    return _ours(setup, folder / "jpg.beton")


def input_raw(setup: Setup, folder: Path) -> Epoch:
    return _our_input(setup, folder / "raw.beton")


def input_jpg(setup: Setup, folder: Path) -> Epoch:
    return _our_input(setup, folder / "jpg.beton")


def dataloader_original(setup: Setup, folder: Path) -> Epoch:
    from torchvision import transforms

    return _dataloader(setup, folder / "original", [transforms.Resize(setup.stored), transforms.CenterCrop(setup.stored)])


def dataloader_stored(setup: Setup, folder: Path) -> Epoch:
    return _dataloader(setup, folder / "stored", [])


def webdataset(setup: Setup, folder: Path) -> Epoch:
    """Shards drawn anew without end, so that no worker runs dry."""
    import webdataset

    urls = [str(path) for path in sorted((folder / "shards").iterdir())]
    dataset = webdataset.WebDataset(urls, resampled=True, shardshuffle=False).shuffle(1000).decode("pil").to_tuple("jpg", "cls")
    dataset = dataset.map_tuple(_augmentation(setup), int).batched(setup.batch)
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=setup.workers, persistent_workers=True)
    return lambda _: iter(loader)


SIDES: dict[str, Callable[[Setup, Path], Epoch]] = {
    side.__name__: side
    for side in (
        *(ffcv_raw, distalex_raw, ffcv_jpg, distalex_jpg),
        *(input_raw, input_jpg, dataloader_original, dataloader_stored, webdataset),
    )
}


def _bare_ffcv(setup: Setup, path: Path) -> Epoch:
    """FFCV by itself, as its documentation has it: uint8 images in its own random order."""
    import numpy as np
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Squeeze, ToTensor

    loader = Loader(
        str(path),
        batch_size=setup.batch,
        num_workers=setup.workers,
        os_cache=True,
        order=OrderOption.RANDOM,
        indices=np.tile(np.arange(setup.count), setup.listed // setup.count),
        drop_last=False,
        batches_ahead=2,  # as our reader has it; with FFCV's own 3 a larger ring of batches leaves the processor's caches sooner
        pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()], "label": [IntDecoder(), ToTensor(), Squeeze(1)]},
    )
    return lambda _: iter(loader)


def _reader(setup: Setup, path: Path) -> FFCVReader:
    from distalex.data.readers import FFCVReader

    return FFCVReader([path], setup.batch, setup.workers)


class _Listed:
    """A reader of `count` images that are listed several times over."""

    def __init__(self, reader: FFCVReader, count: int) -> None:
        self.reader, self.count = reader, count

    def read(self, batches: Sequence[np.ndarray]) -> Reading:
        return self.reader.read([batch % self.count for batch in batches])


def _ours(setup: Setup, path: Path) -> Epoch:
    """Our reader over our keyed order: uint8 images."""
    from distalex.data import order

    reader = _Listed(_reader(setup, path), setup.count)
    return lambda epoch: reader.read([step.samples for step in order.training_steps(setup.listed, setup.batch, 0, epoch, 0, 1)])


def _our_input(setup: Setup, path: Path) -> Epoch:
    """The network's input as a training run has it: random window, mirror, normalising, resizing where the sizes ask for it."""
    import torch

    from distalex.config.data import DataConfig
    from distalex.data.augment.augmentation import Augmentation
    from distalex.data.augment.statistics import Statistics
    from distalex.data.pipeline import Split
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.topology import Topology

    device = torch.device("cpu")
    shares = {"crop": setup.window / setup.stored, "pad": setup.margin / setup.stored}
    options = DataConfig(name="folder", root=".", image_size=setup.image_size, augment="flip_crop", normalize="standard", **shares)
    dtype = torch.bfloat16 if setup.precision == "bf16" else torch.float32
    views = Augmentation(options, setup.stored, Statistics(setup.mean, setup.covariance), 0, device, dtype)
    reader = _Listed(_reader(setup, path), setup.count)
    return Split(reader, setup.listed, setup.batch, views, Mesh(Topology(), device), 0).train


def _augmentation(setup: Setup) -> Any:
    """torchvision's transforms from a stored square (PIL) to the network's input."""
    import numpy as np
    import torch
    from torchvision import transforms

    std = np.sqrt(np.diag(np.array(setup.covariance)))
    resize = [transforms.Resize(setup.image_size)] if setup.image_size != setup.window else []
    steps = [
        *(transforms.RandomCrop(setup.window, padding=setup.margin or None), transforms.RandomHorizontalFlip(), *resize),
        *(transforms.ToTensor(), transforms.Normalize([mean / 255 for mean in setup.mean], (std / 255).tolist())),
    ]
    if setup.precision == "bf16":
        steps.append(transforms.ConvertImageDtype(torch.bfloat16))
    return transforms.Compose(steps)


def _dataloader(setup: Setup, folder: Path, to_stored: Sequence[Any]) -> Epoch:
    """PyTorch's DataLoader over torchvision's ImageFolder, with a process for each core."""
    from torch.utils.data import DataLoader, RandomSampler
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(str(folder), transforms.Compose([*to_stored, _augmentation(setup)]))
    if len(dataset) != setup.count:
        raise UserError(f"{folder}: {len(dataset)} images where {setup.count} were written")
    order = RandomSampler(dataset, num_samples=setup.listed)
    loader = DataLoader(dataset, setup.batch, sampler=order, num_workers=setup.workers, persistent_workers=True)
    return lambda _: iter(loader)


if __name__ == "__main__":
    main()
