"""Opens the training and test images of a run, which are prepared the first time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from distalex.config.data import DataConfig
from distalex.data import order
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.statistics import Statistics
from distalex.data.contents import Contents
from distalex.data.open_readers import cached, open_readers, without_ffcv
from distalex.data.pipeline import Split
from distalex.data.prepared import Progress, Say
from distalex.machine.precision import arithmetic
from distalex.machine.resources import cores_of_each
from distalex.parallel.mesh import Mesh


@dataclass
class Data:
    """The data of a run."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    statistics: Statistics
    """Colours by which images are normalised: of the training images, or what a checkpoint has of them."""
    side: int
    """Of the stored images, in pixels."""
    resize: str
    """Which side of an image was scaled to that: `short_side` or `max_side`."""
    contents: dict[str, Contents]
    """What the splits hold."""
    tested_on: str
    """`test`, or `validation` where those images were held out of the training set."""
    loader: str
    """What reads the images: the config's `data.loader`, or `torchvision` where FFCV cannot be imported."""
    places: Mapping[str, Callable[[int], str]] = field(default_factory=dict)
    """The file of each sample, by split, where that is known."""

    def place(self, split: str, sample: int) -> str:
        """The file of a sample of `train` or `test`; `test 7` where that is not known."""
        return self.places[split](int(sample)) if split in self.places else f"{split} {sample}"

    def describe(self) -> str:
        """A line with the number of images, their size and the number of classes."""
        counts = f"{self.train.count:,} training and {self.test.count:,} {self.tested_on} images"
        return f"{counts} of {self.side}x{self.side} in {len(self.classes)} classes"


def open_data(
    config: DataConfig,
    mesh: Mesh,
    say: Say,
    progress: Progress,
    *,
    batch_size: int,
    eval_batch_size: int | None = None,
    micro_batches: int = 1,
    precision: str = "fp32",
    seed: int = 0,
    statistics: Statistics | None = None,
) -> Data:
    """Training and test images as `config` names them, prepared by one process of each host if need be.

    Sizes are those of global batches; `eval_batch_size` is `batch_size` by default. `precision` is that of the network's input,
    and `seed` keys order and augmentation. `statistics`, of a checkpoint, normalise the images in place of their own.
    Raises UserError where data cannot be found, read or prepared, or does not fit in the cache.
    """
    sizes = {"train": batch_size, "test": eval_batch_size or batch_size}
    largest = _largest(sizes, mesh, micro_batches)
    config = without_ffcv(config, say)
    opened = open_readers(config, largest, _workers(config, mesh), say, progress)
    if config.cache != "none" and config.loader != "synthetic":
        opened = cached(opened, config.cache, largest, mesh.device, mesh.topology.local_world_size, progress)
    statistics = statistics or opened.statistics
    augmentation = Augmentation(config, opened.side, statistics, seed, mesh.device, arithmetic(precision, mesh.device))
    train, test = (
        Split(opened.readers[split], opened.counts[split], size, augmentation, mesh, seed, micro_batches, config.order)
        for split, size in sizes.items()
    )
    return Data(
        *(train, test, opened.classes, statistics, opened.side, opened.resize, opened.contents, config.tested_on, config.loader),
        places=opened.places,
    )


def open_training_images(
    config: DataConfig, mesh: Mesh, say: Say, progress: Progress, *, batch_size: int, precision: str = "fp32", seed: int = 0
) -> tuple[Split, tuple[str, ...]]:
    """The training split alone, not cached, and its classes; prepared files need no test file. See `open_data`."""
    config = without_ffcv(config, say)
    opened = open_readers(config, _largest({"train": batch_size}, mesh, 1), _workers(config, mesh), say, progress)
    augmentation = Augmentation(config, opened.side, opened.statistics, seed, mesh.device, arithmetic(precision, mesh.device))
    split = Split(opened.readers["train"], opened.counts["train"], batch_size, augmentation, mesh, seed, kind_of_order=config.order)
    return split, opened.classes


def _largest(sizes: Mapping[str, int], mesh: Mesh, micro_batches: int) -> dict[str, int]:
    """The most images of a batch of each split that this process reads."""
    return {split: order.largest_share(size, mesh.replicas, mesh.columns, micro_batches) for split, size in sizes.items()}


def _workers(config: DataConfig, mesh: Mesh) -> int:
    """Threads or processes that read, in this process."""
    return config.workers or cores_of_each(mesh.topology.local_world_size)
