"""Which samples make up which step, and which of them fall to which replica: a function of the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from distalex import random
from distalex.topology import share


class Step(NamedTuple):
    """One replica's part of one global batch."""

    samples: np.ndarray
    """int64 sample numbers; may be none where the batch has fewer samples than there are replicas."""
    first_row: int
    """Row of the global batch that `samples[0]` is."""
    total: int
    """Rows of the global batch."""


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches that hold `count` samples, the last one perhaps smaller."""
    return -(-count // batch_size)


def training_steps(count: int, batch_size: int, seed: int, epoch: int, replica: int, replicas: int) -> Iterator[Step]:
    """Every sample once, in the order keyed by (seed, epoch), cut into global batches and those into replicas' parts."""
    return _cut(random.permutation(random.key(seed, "order", epoch), count), batch_size, replica, replicas)


def test_steps(count: int, batch_size: int, replica: int, replicas: int) -> Iterator[Step]:
    """Every sample once, in order."""
    return _cut(np.arange(count, dtype=np.int64), batch_size, replica, replicas)


def _cut(order: np.ndarray, batch_size: int, replica: int, replicas: int) -> Iterator[Step]:
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        part = share(len(batch), replica, replicas)
        yield Step(batch[part], part.start, len(batch))
