"""The way of an image, from its source to a batch: the stages, each in a file of its own, put together for one split of a data set.

source (sources/) → reader (readers.py) → device (device.py) → gathering over a column group (gathering.py) → crop and augment
(augment/) → batch (batches.py) → network. Images are gathered on the device, where the collectives of a GPU work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from distalex.data import order
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.stage import Augment, augment
from distalex.data.batches import Batch, make_batches, weigh
from distalex.data.device import copy_to_device
from distalex.data.gathering import gather
from distalex.data.readers import Reader, read_pairs
from distalex.parallel.mesh import Mesh

Batches = Generator[Batch, None, None]


@dataclass
class Split:
    """One split of a data set, as this process reads it."""

    reader: Reader
    count: int
    """Images of the split."""
    batch_size: int
    """Images of a global batch."""
    augmentation: Augmentation
    mesh: Mesh
    seed: int
    micro_batches: int = 1
    """Micro-batches of a training step (gradient accumulation)."""
    kind_of_order: str = "random"
    """`random`, `quasi_random`, `sequential` or `balanced`; see `order.epoch_order` and `order.balanced_order`."""
    class_weights: Tensor | None = None
    """Weight (classes,) fp32 of each class in the training loss, on the device; None where all weigh the same."""

    @property
    def steps_per_epoch(self) -> int:
        """Global batches that hold all images, the last one perhaps smaller."""
        return order.steps_per_epoch(self.count, self.batch_size)

    def train(self, epoch: int, first_step: int = 0) -> Batches:
        """The epoch's batches from step `first_step` on, augmented."""
        mesh = self.mesh
        labels = self.reader.all_labels() if self.kind_of_order == "balanced" else None
        steps = order.training_steps(self.count, self.batch_size, self.seed, epoch, mesh.replica, mesh.replicas, self.kind_of_order, labels)
        batches = self._train(list(steps)[first_step:], epoch, self.micro_batches)
        return batches if self.class_weights is None else weigh(batches, self.class_weights, mesh)

    def test(self) -> Batches:
        """Every image once, its centre crop."""
        return self._once(self.augmentation.test)

    def stored(self, epoch: int | None = None) -> Batches:
        """Every image once, as it is stored: `images` (m, side, side, 3) are uint8. In the order of a training `epoch`, if one is given."""
        if epoch is None:
            return self._once(torch.clone)  # the reader may overwrite what it has read before this batch is used
        mesh = self.mesh
        steps = order.training_steps(self.count, self.batch_size, self.seed, epoch, mesh.replica, mesh.replicas, self.kind_of_order)
        return self._batches(list(steps), lambda images, _: images.clone())

    def read(self, samples: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Stored images (b, side, side, 3) uint8 and labels (b,) int64 of samples (n,), in batches that this process's reader has room for.

        Each batch is valid until the next is requested.
        """
        most = order.largest_share(self.batch_size, self.mesh.replicas, self.mesh.columns, self.micro_batches)
        yield from self.reader.read([samples[start : start + most] for start in range(0, len(samples), most)])

    def augmented(self, samples: np.ndarray, epoch: int) -> Batch:
        """These samples (n,) as training augments them in `epoch`; for a single process."""
        (batch,) = self._train([order.Step(samples, 0, len(samples))], epoch, 1)
        return batch

    def _once(self, transform: Callable[[Tensor], Tensor]) -> Batches:
        steps = order.test_steps(self.count, self.batch_size, self.mesh.replica, self.mesh.replicas)
        return self._batches(list(steps), lambda images, _: transform(images))

    def _train(self, steps: Sequence[order.Step], epoch: int, micro_batches: int) -> Batches:
        augmentation, mixing = self.augmentation, self.augmentation.mixing
        if mixing is None:
            return self._batches(steps, partial(augmentation.train, epoch=epoch), micro_batches)
        partners = partial(mixing.partners, epoch=epoch, count=self.count)

        def mixed(pairs: Tensor, samples: np.ndarray) -> Tensor:
            return augmentation.train_mixed(pairs, samples, partners(samples), epoch)

        return self._batches(steps, mixed, micro_batches, partners, partial(mixing.shares, epoch=epoch))

    def _batches(
        self,
        steps: Sequence[order.Step],
        transform: Augment,
        micro_batches: int = 1,
        partners: Callable[[np.ndarray], np.ndarray] | None = None,
        shares: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Batches:
        """Put the stages together: each takes the stage before and yields batch after batch.

        Each process of a column group reads a share of its replica's images, so that none is decoded twice.
        """
        mesh, on_gpu = self.mesh, self.mesh.device.type == "cuda"
        spread = mesh.spreads_images
        rows = [order.rows_of_columns(len(step.samples), mesh.columns, micro_batches if spread else None) for step in steps]
        local = [step.samples[columns[mesh.column].rows] for step, columns in zip(steps, rows, strict=True)]
        local_counts = [columns[mesh.column].counts if spread else None for columns in rows]

        own = [draws % self.count for draws in local]  # the samples, where the order is balanced
        reading = self.reader.read(own) if partners is None else read_pairs(self.reader, own, partners, pinned=on_gpu)
        copied = copy_to_device(reading, mesh.device)
        gathering = gather(copied, rows, mesh)
        augmented = augment(gathering, local if spread else [step.samples for step in steps], transform, mesh.columns > 1 or on_gpu)
        return make_batches(augmented, steps, local_counts, shares)
