"""Which samples make up each global batch, and which of them each replica and each column reads: a function of the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from distalex import random
from distalex.shares import share, shares_of_rounds


class Step(NamedTuple):
    """One replica's share of a global batch."""

    samples: np.ndarray
    """(n,) int64 sample numbers, or draws of `balanced_order`; empty where the batch has fewer samples than there are replicas."""
    first_row: int
    """Row of the global batch that `samples[0]` is."""
    total: int
    """Samples of the global batch."""


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches that hold `count` samples, the last one perhaps smaller."""
    return -(-count // batch_size)


def training_steps(
    count: int,
    batch_size: int,
    seed: int,
    epoch: int,
    replica: int,
    replicas: int,
    order: str = "random",
    labels: np.ndarray | None = None,
) -> Iterator[Step]:
    """The replica's share of each global batch of an epoch: every sample once, in the order keyed by (seed, epoch).

    With `labels` (count,), the classes of all samples: the draws of `balanced_order` instead.
    """
    drawn = epoch_order(count, seed, epoch, order) if labels is None else balanced_order(labels, seed, epoch)
    return _cut(drawn, batch_size, replica, replicas)


BLOCK, WINDOW = 256, 32
"""Samples of a block, and blocks of a window, of the quasi-random order."""


def epoch_order(count: int, seed: int, epoch: int, order: str) -> np.ndarray:
    """All sample numbers (count,) int64: a keyed permutation (`random`), their own order (`sequential`), or `quasi_random`.

    The last shuffles blocks of 256 consecutive samples, and then the samples of each window of 32 blocks: a batch comes from
    few places of the file.
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


def balanced_order(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Draws (count,) int64 of an epoch with as many of each class, give or take one, in a keyed order.

    `labels` (count,): classes of all samples. A draw is a sample's number plus `count` times how often the epoch has drawn it before: what
    is keyed by it differs between a sample's draws. A class is drawn from round after round, each a keyed permutation of its samples.
    """
    count, classes = len(labels), np.unique(labels)
    first = int(random.bits(random.key(seed, "balanced", epoch), np.zeros(1, np.int64))[0]) % len(classes)
    draws = []
    for number, class_ in enumerate(np.roll(classes, first)):  # classes take turns to have one more
        own = np.flatnonzero(labels == class_)
        wanted = len(range(number, count, len(classes)))
        rounds = [
            own[random.permutation(random.key(seed, "balanced", epoch, int(class_), turn), len(own))] + turn * count
            for turn in range(-(-wanted // len(own)))
        ]
        draws.append(np.concatenate(rounds)[:wanted])
    return np.concatenate(draws)[random.permutation(random.key(seed, "order", epoch), count)]


def choose(count: int, most: int, seed: int) -> np.ndarray:
    """`most` of `count` samples (n,) int64, chosen by the seed, in order; all where there are no more."""
    return np.sort(random.permutation(random.key(seed, "shown"), count)[:most])


def test_steps(count: int, batch_size: int, replica: int, replicas: int) -> Iterator[Step]:
    """The replica's share of each global batch of a test: every sample once, in order."""
    return _cut(np.arange(count, dtype=np.int64), batch_size, replica, replicas)


def _cut(order: np.ndarray, batch_size: int, replica: int, replicas: int) -> Iterator[Step]:
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = share(len(batch), replica, replicas)
        yield Step(batch[rows], rows.start, len(batch))


class Rows(NamedTuple):
    """Which rows of a replica's batch one process of its column group reads."""

    rows: np.ndarray
    """(k,) int64."""
    counts: tuple[int, ...]
    """How many of them are in each micro-batch."""


def rows_of_columns(count: int, columns: int, micro_batches: int | None) -> list[Rows]:
    """The rows of a batch of `count` that each of `columns` processes reads.

    With `micro_batches`, a share of every round of each of them (One Weird Trick); else one share of the batch.
    """
    everyone = []
    for column in range(columns):
        if micro_batches is None:
            whole = share(count, column, columns)
            everyone.append(Rows(np.arange(whole.start, whole.stop), (whole.stop - whole.start,)))
            continue
        rows = []
        for number in range(micro_batches):
            batch = share(count, number, micro_batches)
            shares = shares_of_rounds(batch.stop - batch.start, column, columns)
            rows.append(batch.start + np.concatenate([np.arange(one.start, one.stop) for one in shares]))
        everyone.append(Rows(np.concatenate(rows), tuple(map(len, rows))))
    return everyone


def largest_share(batch_size: int, replicas: int, columns: int, micro_batches: int) -> int:
    """Upper bound of the images of a batch that one process reads."""
    replica = -(-batch_size // replicas)
    return max(1, min(replica, -(-replica // columns) + (micro_batches * columns if columns > 1 else 0)))
