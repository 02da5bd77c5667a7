"""The loader of training for a loop of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from torch import Tensor

from distalex.api.configs import ConfigLike, read_config
from distalex.console import Console
from distalex.data.open import open_data, open_training_images
from distalex.data.pipeline import Split
from distalex.errors import UserError
from distalex.machine.home import provide_home
from distalex.parallel.mesh import Mesh
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology


def images(
    what: ConfigLike,
    overrides: Mapping[str, Any] | None = None,
    *,
    config: ConfigLike = None,
    batch_size: int | None = None,
    split: str = "train",
    raw: bool = False,
    seed: int | None = None,
    device: str = "cpu",
) -> Images:
    """Open images as batches for a loop of one's own: decoded by FFCV, augmented as the config says, in an order keyed by the seed.

    They are prepared the first time. Under torchrun every process gets its share of each batch.

    Args:
        what: a folder, archive or table of images, a prepared file, a shipped config's name, a YAML file or a Config.
        overrides: options by dotted name, e.g. {"data.image_size": 96, "data.augment": "paper"}.
        config: the config, where `what` holds images.
        batch_size: images of a batch over all processes; by default the config's `train.batch_size`, 128.
        split: train, in another order and augmented anew every epoch; or test, each image once in one order.
        raw: give images as they are stored, uint8, neither augmented nor normalised.
        seed: of order and augmentation; by default the config's.
        device: where batches are put: cpu, cuda, or auto.

    Raises:
        UserError: the images cannot be found or read, or options do not fit.
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: must be train or test")
    given = {"train.batch_size": batch_size, "seed": seed, "device": device}
    options = {name: value for name, value in given.items() if value is not None}
    chosen = read_config(what, overrides, config, options, "images")
    if chosen.data.mixup or chosen.data.cutmix:
        raise UserError("data.mixup and data.cutmix give an image two labels, and images() gives one; set both to 0")
    provide_home()
    topology = Topology.from_environment()
    mesh = Mesh(topology, choose_device(chosen.device, topology), "none", replica=topology.rank, replicas=topology.world_size)
    console = Console(mesh.is_first)
    common: Any = (chosen.data, mesh, console.say, console.progress)
    with console.showing():
        if split == "train":
            opened, classes = open_training_images(*common, batch_size=chosen.train.batch_size, seed=chosen.seed)
        else:
            data = open_data(*common, batch_size=chosen.train.batch_size, seed=chosen.seed)
            opened, classes = data.test, data.classes
    return Images(opened, classes, split == "train", raw)


class Images:
    """Batches of images and labels, as often as one iterates: each time is the next epoch."""

    def __init__(self, split: Split, classes: tuple[str, ...], trains: bool, raw: bool) -> None:
        """`split`: this process's part; `trains`: whether order and augmentation change with the epoch; `raw`: neither is applied."""
        self.split, self.classes, self.trains, self.raw = split, classes, trains, raw
        self.epoch = 0
        """Number of the epoch that the next iteration gives."""

    def __repr__(self) -> str:
        kind = "uint8" if self.raw else "normalised"
        return f"Images({self.count:,} of {len(self.classes)} classes, {len(self)} batches of {self.batch_size}, {kind})"

    def __len__(self) -> int:
        """Batches of an epoch, the last one perhaps smaller."""
        return self.split.steps_per_epoch

    @property
    def count(self) -> int:
        """Images of the split, over all processes."""
        return self.split.count

    @property
    def batch_size(self) -> int:
        """Images of a batch over all processes."""
        return self.split.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration gives, e.g. to resume; from 0. Raises UserError for another value."""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise UserError(f"epoch={epoch!r}: a number from 0 is needed")
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over an epoch: images and their classes (n,) int64.

        Images are (n, 3, image_size, image_size) float32, augmented and normalised; raw ones (n, 3, side, side) uint8. Leaving the loop
        early ends the reading threads.
        """
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._epoch(epoch)

    def _epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        split = self.split
        batches = split.stored(epoch if self.trains else None) if self.raw else split.train(epoch) if self.trains else split.test()
        with closing(batches):
            for batch in batches:
                pixels = batch.images.permute(0, 3, 1, 2).contiguous() if self.raw else batch.images
                yield pixels, batch.labels.clone()  # the reader reuses its buffer
