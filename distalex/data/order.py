"""Which samples make up which step, and which of them fall to which replica: a function of the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from distalex import random
from distalex.shares import share, shares_of_rounds


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


def training_steps(
    count: int, batch_size: int, seed: int, epoch: int, replica: int, replicas: int, order: str = "random"
) -> Iterator[Step]:
    """Every sample once, in the order keyed by (seed, epoch), cut into global batches and those into replicas' parts."""
    return _cut(epoch_order(count, seed, epoch, order), batch_size, replica, replicas)


BLOCK, WINDOW = 256, 32


def epoch_order(count: int, seed: int, epoch: int, order: str) -> np.ndarray:
    """All sample numbers (int64): in a keyed permutation, in their own order, or `quasi_random`.

    The last shuffles blocks of 256 neighbours, and then the samples of each 32 blocks: a batch comes from a part of the
    file that is read in one go, and an epoch from all of it.
    """
    key = random.key(seed, "order", epoch)
    if order == "sequential":
        return np.arange(count, dtype=np.int64)
    if order == "random":
        return random.permutation(key, count)
    samples = np.arange(count, dtype=np.int64)
    blocks = random.permutation(random.key(seed, "blocks", epoch), -(-count // BLOCK))
    window = np.argsort(blocks)[samples // BLOCK] // WINDOW
    return np.argsort(window.astype(np.uint64) << np.uint64(32) | random.bits(key, samples), kind="stable")


def test_steps(count: int, batch_size: int, replica: int, replicas: int) -> Iterator[Step]:
    """Every sample once, in order."""
    return _cut(np.arange(count, dtype=np.int64), batch_size, replica, replicas)


def _cut(order: np.ndarray, batch_size: int, replica: int, replicas: int) -> Iterator[Step]:
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        part = share(len(batch), replica, replicas)
        yield Step(batch[part], part.start, len(batch))


class Rows(NamedTuple):
    """Which rows of a replica's batch one process of its column group reads."""

    rows: np.ndarray
    counts: tuple[int, ...]
    """How many of them are in each part of the batch."""


def rows_of_columns(count: int, columns: int, parts: int | None) -> list[Rows]:
    """What each of `columns` processes reads of a batch of `count`.

    With `parts`, each has a share of every round of every part (One Weird Trick); else one share of the whole.
    """
    everyone = []
    for column in range(columns):
        if parts is None:
            own = share(count, column, columns)
            everyone.append(Rows(np.arange(own.start, own.stop), (own.stop - own.start,)))
            continue
        rows = []
        for number in range(parts):
            part = share(count, number, parts)
            shares = shares_of_rounds(part.stop - part.start, column, columns)
            rows.append(part.start + np.concatenate([np.arange(own.start, own.stop) for own in shares]))
        everyone.append(Rows(np.concatenate(rows), tuple(map(len, rows))))
    return everyone


def largest_share(batch_size: int, replicas: int, columns: int, parts: int) -> int:
    """No process reads more images of a batch than this."""
    replica = -(-batch_size // replicas)
    return max(1, min(replica, -(-replica // columns) + (parts * columns if columns > 1 else 0)))
