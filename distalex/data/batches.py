"""The batch stage: batches as the network takes them, and their micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex.data.order import Step
from distalex.parallel.mesh import Mesh
from distalex.shares import share


class Mixed(NamedTuple):
    """What mixed images have besides their own labels."""

    labels: Tensor
    """(n,) int64: of the samples that they are mixed with."""
    shares: Tensor
    """(n,) float32: of the own label in the loss; the rest is that of the other label."""


class Weights(NamedTuple):
    """How much classes weigh in the loss of a batch."""

    classes: Tensor
    """(classes,) fp32."""
    scale: Tensor
    """Scalar fp32: images of the global batch, divided by the sum of the weights of their labels."""


class MicroBatch(NamedTuple):
    """What one forward and backward pass of gradient accumulation takes."""

    images: Tensor
    """(m, 3, size, size), normalised, on the device."""
    labels: Tensor
    """(n,) int64, on the device."""
    first_row: int
    """Row of the global batch that `labels[0]` is."""
    mix: Mixed | None = None
    weights: Weights | None = None


class Batch(NamedTuple):
    """One replica's share of a global batch, as the network takes it."""

    images: Tensor
    """(m, 3, size, size) in the run's precision, normalised, on the device."""
    labels: Tensor
    """(n,) int64, on the device."""
    samples: np.ndarray
    """(n,) int64: numbers of the samples in their split."""
    first_row: int
    """Row of the global batch that `labels[0]` is."""
    total: int
    """Images of the global batch."""
    local_counts: tuple[int, ...] | None = None
    """Images of each micro-batch that this process has, where it has only some of them (One Weird Trick); else None, and m is n."""
    mix: Mixed | None = None
    """Labels and shares of the samples that are mixed in, where the run mixes images."""
    weights: Weights | None = None
    """Where classes weigh differently in the loss, how much."""

    def micro_batches(self, count: int) -> Iterator[MicroBatch]:
        """The batch in `count` micro-batches, which differ in size by one at most."""
        start = 0
        for number in range(count):
            rows = share(len(self.labels), number, count)
            local = rows
            if self.local_counts is not None:
                local = slice(start, start + self.local_counts[number])
                start = local.stop
            mix = self.mix and Mixed(self.mix.labels[rows], self.mix.shares[rows])
            yield MicroBatch(self.images[local], self.labels[rows], self.first_row + rows.start, mix, self.weights)


def make_batches(
    augmented: Generator[tuple[Tensor, Tensor], None, None],
    steps: Sequence[Step],
    local_counts: Sequence[tuple[int, ...] | None],
    shares: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Generator[Batch, None, None]:
    """The batch stage: images (m, 3, size, size) and labels of each of `steps` as a Batch.

    `shares`, where images are mixed, gives the share (n,) of samples in theirs; labels are then (n, 2), the second the partners'.
    """
    with closing(augmented):
        for step, counts, (images, labels) in zip(steps, local_counts, augmented, strict=False):  # steps first: no batch beyond the last
            if shares is None:
                yield Batch(images, labels, *step, counts)
                continue
            own, others = labels.unbind(1)
            mixed = Mixed(others, torch.from_numpy(shares(step.samples)).to(labels.device, non_blocking=True))
            yield Batch(images, own, *step, counts, mixed)


def weigh(batches: Generator[Batch, None, None], classes: Tensor, mesh: Mesh) -> Generator[Batch, None, None]:
    """The weighing stage: each batch with the weights of `classes` (classes,) fp32 and the sum of those of the global batch's labels.

    A mixed image has its share of both labels' weights. One number is summed over the replicas, in fp64.
    """
    with closing(batches):
        for batch in batches:
            own = classes[batch.labels].double()
            if batch.mix is not None:
                own = torch.lerp(classes[batch.mix.labels].double(), own, batch.mix.shares.double())
            yield batch._replace(weights=Weights(classes, (batch.total / mesh.sum(own.sum())).float()))
