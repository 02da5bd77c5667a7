"""Batches are the same whichever loader reads them."""

import threading

import numba
import pytest
import torch
from support.data import opened
from support.runs import small

from distalex.data import open_readers
from distalex.errors import UserError


def test_loaders_give_the_same_batches(alone, photographs):
    batches = []
    for loader in ("ffcv", "torchvision"):
        settings = small(data__name="folder", data__root=str(photographs), data__loader=loader, data__workers="1", train__batch_size="10")
        data = opened(settings, alone)
        batches.append([*data.train.train(epoch=3), *data.test.test()])
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.parametrize(("free", "says"), [(2**20, "batches go through pipes"), (0, "images are loaded without these")])
def test_little_shared_memory_gives_the_same_batches(alone, photographs, monkeypatch, free, says):
    options = {"data__name": "folder", "data__root": str(photographs), "data__loader": "torchvision", "data__workers": "2"}
    monkeypatch.setattr(open_readers, "cores", lambda: 2)
    expected = [*opened(small(**options), alone).train.train(0)]
    monkeypatch.setattr(open_readers, "shared_memory", lambda: free)
    said: list[str] = []
    found = [*opened(small(**options), alone, said.append).train.train(0)]
    assert all(torch.equal(one.images, other.images) for one, other in zip(found, expected, strict=True))
    assert all(torch.equal(one.labels, other.labels) for one, other in zip(found, expected, strict=True))
    assert any(says in line for line in said)


def test_an_epoch_can_be_entered_in_the_middle(alone):
    data = opened(small(), alone)
    whole, rest = list(data.train.train(1)), list(data.train.train(1, first_step=2))
    assert len(rest) == len(whole) - 2
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[2:], rest, strict=True))


@pytest.mark.parametrize("mixup", ["0", "0.2"])
def test_iterators_left_early_leave_no_thread(alone, mixup):
    data = opened(small(data__mixup=mixup), alone)
    list(data.train.train(0))
    before = threading.active_count()
    for epoch in range(20):
        batches = data.train.train(epoch)
        next(batches)
        batches.close()
    assert threading.active_count() <= before


def test_reading_leaves_torchs_threads_alone_and_starts_none_of_numbas(alone):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = opened(small(data__workers="1"), alone)
        list(data.train.train(0))
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="not initialized"):  # Numba's threads, which nothing here uses; TBB's can hang at the exit
            numba.threading_layer()
    finally:
        torch.set_num_threads(threads)


def test_reading_leaves_numbas_types_alone(alone):
    """FFCV makes Numba's type of uint8 arrays read-only; kernels of this process that are compiled later could then not write."""
    bytes_type = numba.types.uint8[::1]
    opened(small(), alone)
    assert bytes_type.mutable


def test_a_failing_reader_ends_the_epoch_with_a_sentence(alone):
    data = opened(small(), alone)
    data.train.reader.loader.code = None  # what a bug in FFCV's thread looks like from outside
    with pytest.raises(UserError, match="FFCV cannot read it"):
        list(data.train.train(0))


@pytest.mark.parametrize("cache", ["memory", "device"])
@pytest.mark.parametrize("loader", ["ffcv", "torchvision"])
def test_a_cache_changes_no_batch(alone, cache, loader):
    both = [opened(small(data__cache=kind, data__loader=loader, data__workers="1"), alone) for kind in ("none", cache)]
    for ours, theirs in zip(*([*one.train.train(1), *one.test.test()] for one in both), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


def test_a_cache_that_does_not_fit_is_refused(alone, monkeypatch):
    monkeypatch.setattr("distalex.data.open_readers.free_memory", lambda: 500_000)
    with pytest.raises(UserError, match=r"data.cache=memory: 614.4 kB are needed .* use --data.cache=none"):
        opened(small(data__cache="memory"), alone)
