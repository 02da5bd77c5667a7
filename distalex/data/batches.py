"""Batches of a split as the network takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex.data import order
from distalex.data.augment.augmentation import Augmentation
from distalex.data.gathering import Gathering
from distalex.data.readers import Reader
from distalex.parallel.mesh import Mesh
from distalex.shares import share


class Mixed(NamedTuple):
    """What mixed images hold besides their own label."""

    labels: Tensor
    """(n,) int64: their partners'."""
    shares: Tensor
    """(n,) float32: of the own label; the rest is the partner's."""


class Part(NamedTuple):
    """What one forward pass takes."""

    images: Tensor
    labels: Tensor
    first_row: int
    mix: Mixed | None = None


class Batch(NamedTuple):
    """One replica's part of a step, as the network takes it."""

    images: Tensor
    """(m, 3, size, size) in the run's precision, normalised, on the device."""
    labels: Tensor
    """(n,) int64, on the device."""
    samples: np.ndarray
    """(n,) their numbers in the split."""
    first_row: int
    """Row of the global batch that `labels[0]` is."""
    total: int
    """Images of the step over all replicas."""
    own_counts: tuple[int, ...] | None = None
    """Images in each of `train.accumulate` parts where a process has only some of its replica's (One Weird Trick); else m is n."""
    mix: Mixed | None = None
    """Where the run mixes images, whose labels these have too, on the device."""

    def parts(self, count: int) -> Iterator[Part]:
        """The batch in `count` parts, one after the other."""
        start = 0
        for number in range(count):
            rows = share(len(self.labels), number, count)
            own = rows
            if self.own_counts is not None:
                own = slice(start, start + self.own_counts[number])
                start = own.stop
            mix = self.mix and Mixed(self.mix.labels[rows], self.mix.shares[rows])
            yield Part(self.images[own], self.labels[rows], self.first_row + rows.start, mix)


@dataclass
class Split:
    """One split of a data set, ready to be read by this process."""

    reader: Reader
    count: int
    batch_size: int
    views: Augmentation
    mesh: Mesh
    seed: int
    accumulate: int = 1
    kind_of_order: str = "random"

    @property
    def steps_per_epoch(self) -> int:
        return order.steps_per_epoch(self.count, self.batch_size)

    def train(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from step `first_step` on, augmented."""
        mesh = self.mesh
        steps = order.training_steps(self.count, self.batch_size, self.seed, epoch, mesh.replica, mesh.replicas, self.kind_of_order)
        return self._augmented(list(steps)[first_step:], epoch, self.accumulate)

    def test(self) -> Iterator[Batch]:
        """Every image once, the centre of each."""
        return self._test(self.views.test)

    def stored(self) -> Iterator[Batch]:
        """Every image once, as it is stored: `images` (m, side, side, 3) are uint8."""
        return self._test(torch.clone)  # the reader may be asked for the next batch before this one is used

    def seen(self, samples: np.ndarray, epoch: int) -> Batch:
        """What training in `epoch` sees of these samples, where there is one process."""
        (batch,) = self._augmented([order.Step(samples, 0, len(samples))], epoch, 1)
        return batch

    def _test(self, view: Callable[[Tensor], Tensor]) -> Iterator[Batch]:
        steps = order.test_steps(self.count, self.batch_size, self.mesh.replica, self.mesh.replicas)
        return self._read(list(steps), lambda images, _: view(images), 1)

    def _augmented(self, steps: list[order.Step], epoch: int, parts: int) -> Iterator[Batch]:
        """With mixing, a row is a sample and its partner until both are views."""
        mixing, see = self.views.mixing, partial(self.views.train, epoch=epoch)
        if mixing is None:
            yield from self._read(steps, see, parts)
            return
        partners = partial(mixing.partners, epoch=epoch, count=self.count)

        def mixed(pairs: Tensor, samples: np.ndarray) -> Tensor:
            both = np.stack([samples, partners(samples)], 1)
            views = see(pairs.flatten(0, 1), both.reshape(-1)).unflatten(0, both.shape)
            return mixing.mix(views[:, 0], views[:, 1], samples, epoch)

        for batch in self._read(steps, mixed, parts, partners):
            own, others = batch.labels.unbind(1)
            shares = torch.from_numpy(mixing.shares(batch.samples, epoch)).to(own.device, non_blocking=True)
            yield batch._replace(labels=own, mix=Mixed(others, shares))

    def _read(
        self,
        steps: list[order.Step],
        view: Callable[[Tensor, np.ndarray], Tensor],
        parts: int,
        partners: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[Batch]:
        """Each process of a column group reads its share of the replica's images, so that none is decoded twice."""
        mesh = self.mesh
        ahead = mesh.columns > 1 or mesh.device.type == "cuda"  # the next batch is on its way while this one is computed
        rows = [order.rows_of_columns(len(step.samples), mesh.columns, parts if mesh.spreads_images else None) for step in steps]
        own = [step.samples[columns[mesh.column].rows] for step, columns in zip(steps, rows, strict=True)]
        if partners is None:
            reading = self.reader.read(own)
        else:
            in_turn = [samples for numbers in own for samples in (numbers, partners(numbers))]
            reading = pairs(self.reader.read(in_turn), for_gpu=mesh.device.type == "cuda")
        try:
            coming = Gathering(next(reading), rows[0], mesh) if steps else None
            for number, (step, columns, samples) in enumerate(zip(steps, rows, own, strict=True)):
                assert coming is not None
                images, labels = coming.wait()
                if mesh.spreads_images:
                    batch = Batch(view(images, samples), labels, *step, columns[mesh.column].counts)
                else:
                    batch = Batch(view(images, step.samples), labels, *step)
                if not ahead:
                    yield batch
                if number + 1 < len(steps):
                    coming.leave_reader()
                    coming = Gathering(next(reading), rows[number + 1], mesh)
                if ahead:
                    yield batch
        finally:
            reading.close()  # type: ignore[attr-defined]


def pairs(reading: Iterator[tuple[Tensor, Tensor]], for_gpu: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of a sample and its partner, (n, 2, …), where `reading` brings batches of samples and of their partners in turn."""
    try:
        for batch in reading:
            pinned = for_gpu and not batch[0].is_cuda
            both = [tensor.new_empty((len(tensor), 2, *tensor.shape[1:]), pin_memory=pinned) for tensor in batch]
            for pair, tensor in zip(both, batch, strict=True):  # now, as a batch is valid until the next one is asked for
                pair[:, 0] = tensor
            for pair, tensor in zip(both, next(reading), strict=True):
                pair[:, 1] = tensor
            yield both[0], both[1]
    finally:
        reading.close()  # type: ignore[attr-defined]
