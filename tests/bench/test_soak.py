"""A long run holds no more threads, files or memory than a short one."""

import gc
import os
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from support.data import opened
from support.runs import small

GROWTH = 10 * 2**20  # bytes; an epoch that left its batches behind would leave 2 MB, 300 MB in all


class Held(NamedTuple):
    threads: int
    handles: int
    memory: int
    """Resident bytes."""


def held() -> Held:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(threading.active_count(), len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads Linux's /proc")
def test_two_hundred_epochs_hold_what_fifty_do(alone):
    """As a training run reads: every third epoch is left early, as a stopped one is, and each is followed by an evaluation."""
    data = opened(small(data__workers="2"), alone)
    counts = {}
    for epoch in range(200):
        batches = data.train.train(epoch)
        if epoch % 3 == 0:
            next(batches)
            batches.close()
        else:
            assert sum(len(batch.labels) for batch in batches) == 40
        with torch.no_grad():
            assert sum(len(batch.labels) for batch in data.test.test()) == 10
        if epoch + 1 in (50, 200):
            counts[epoch + 1] = held()
    early, late = counts[50], counts[200]
    assert late.threads == early.threads
    assert late.handles == early.handles
    assert late.memory < early.memory + GROWTH
