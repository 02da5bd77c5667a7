"""Which samples make up which step."""

import numpy as np
import pytest
import torch

from distalex.data import order

CPU = torch.device("cpu")


@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("count", "batch_size"), [(70, 16), (17, 5), (3, 8), (64, 64), (100, 7)])
def test_every_sample_falls_to_one_replica_once_an_epoch(count, batch_size, replicas):
    parts = [list(order.training_steps(count, batch_size, 0, 1, replica, replicas)) for replica in range(replicas)]
    assert len({len(steps) for steps in parts}) == 1
    assert len(parts[0]) == order.steps_per_epoch(count, batch_size)
    whole = list(order.training_steps(count, batch_size, 0, 1, 0, 1))
    for number, step in enumerate(whole):
        shares = [steps[number] for steps in parts]
        assert np.array_equal(np.concatenate([share.samples for share in shares]), step.samples)
        assert all(np.array_equal(step.samples[share.first_row :][: len(share.samples)], share.samples) for share in shares)
        assert {share.total for share in shares} == {len(step.samples)}
    assert sorted(np.concatenate([step.samples for step in whole])) == list(range(count))


@pytest.mark.parametrize("parts", [None, 1, 3])
@pytest.mark.parametrize(("count", "columns"), [(16, 2), (17, 3), (1, 2), (0, 2), (128, 16), (30, 16)])
def test_a_column_group_reads_every_row_of_a_batch_once(count, columns, parts):
    """Contiguous shares, or with One Weird Trick a share of every round of every part; none bunched on one process."""
    rows = order.rows_of_columns(count, columns, parts)
    assert sorted(np.concatenate([own.rows for own in rows])) == list(range(count))
    for own in rows:
        assert sum(own.counts) == len(own.rows) <= order.largest_share(max(count, 1), 1, columns, parts or 1)
    if parts in (None, 1):
        assert max(len(own.rows) for own in rows) <= -(-count // columns) + columns
    if parts:
        assert [sum(own.counts[number] for own in rows) for number in range(parts)] == [
            count * (number + 1) // parts - count * number // parts for number in range(parts)
        ]


def test_epochs_and_seeds_have_their_own_order_and_tests_none():
    def samples(seed, epoch):
        return np.concatenate([step.samples for step in order.training_steps(50, 8, seed, epoch, 0, 1)]).tolist()

    assert samples(0, 0) == samples(0, 0)
    assert samples(0, 0) != samples(0, 1)
    assert samples(0, 0) != samples(1, 0)
    assert np.concatenate([step.samples for step in order.test_steps(50, 8, 0, 1)]).tolist() == list(range(50))


def test_quasi_random_order_mixes_neighbourhoods():
    count = 100_000
    epoch = order.epoch_order(count, 3, 1, "quasi_random")
    assert np.array_equal(np.sort(epoch), np.arange(count))
    assert not np.array_equal(epoch, order.epoch_order(count, 3, 2, "quasi_random"))
    blocks_of_batches = [len(set(epoch[start : start + 256] // order.BLOCK)) for start in range(0, count - 256, 256)]
    assert max(blocks_of_batches) <= 2 * order.WINDOW  # of 391
    assert np.median(blocks_of_batches) == order.WINDOW  # all that are open at once
    assert abs(np.corrcoef(epoch, np.arange(count))[0, 1]) < 0.1  # windows are of blocks from everywhere
    assert order.epoch_order(5, 3, 1, "sequential").tolist() == [0, 1, 2, 3, 4]
