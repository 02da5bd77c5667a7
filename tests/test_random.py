import numpy as np
import torch

from distalex import random


def test_numpy_and_torch_draw_the_same_bits():
    stream = random.key(7, "test", 3)
    index = np.arange(10_000)
    on_device = torch.tensor([random.signed(stream.low), random.signed(stream.high)], dtype=torch.int32)
    drawn = random.torch_bits(on_device, torch.arange(10_000, dtype=torch.int32))
    assert np.array_equal(drawn.numpy().view(np.uint32), random.bits(stream, index))


def test_draws_never_change_between_versions():
    """A resumed run and a golden curve rely on these very bits."""
    assert random.bits(random.Key(1, 2), np.arange(3)).tolist() == [3405767568, 3507691905, 3568491650]
    assert random.key(0, "order", 1) == (788477010, 3736599421)
    assert random.permutation(random.Key(1, 2), 8).tolist() == [4, 7, 6, 0, 1, 2, 5, 3]


def test_a_part_of_the_draws_equals_that_part_of_all_draws():
    stream = random.key(0, "part")
    assert np.array_equal(random.uniform(stream, np.arange(100))[40:60], random.uniform(stream, np.arange(40, 60)))


def test_uniform_draws_are_uniform_and_normal_draws_are_normal():
    index = np.arange(200_000)
    uniform, normal = random.uniform(random.key(0, "u"), index), random.normal(random.key(0, "n"), index)
    # 5 standard errors of the mean of 200,000 draws
    assert abs(uniform.mean() - 0.5) < 5 * 0.2887 / len(index) ** 0.5
    assert abs(normal.mean()) < 5 / len(index) ** 0.5
    assert abs(normal.std() - 1) < 5 / (2 * len(index)) ** 0.5
    counts = np.bincount((uniform * 100).astype(int), minlength=100)
    assert abs(counts - 2000).max() < 5 * 2000**0.5


def test_neighbouring_streams_and_draws_are_not_correlated():
    index = np.arange(100_000)
    draws = [random.uniform(random.key(seed, "x", step), index) for seed in (0, 1) for step in (0, 1)]
    draws.append(np.roll(draws[0], 1))
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert abs(correlation).max() < 5 / len(index) ** 0.5


def test_grid_draws_are_even_in_rows_columns_and_pairs():
    stream = random.key(0, "grid")
    signed = torch.tensor([random.signed(stream.low), random.signed(stream.high)], dtype=torch.int32)
    drawn = random.torch_grid(signed, torch.arange(512, dtype=torch.int32), torch.arange(512, dtype=torch.int32))
    units = (drawn.view(torch.int8) >= 0).double()  # fair coins, four a word
    limit = 5 * 0.5
    assert abs(units.mean() - 0.5) < limit / units.numel() ** 0.5
    assert (units.mean(0) - 0.5).abs().max() < limit / 512**0.5
    assert (units.mean(1) - 0.5).abs().max() < limit / 2048**0.5
    rows = torch.corrcoef(units) - torch.eye(512)
    assert rows.abs().max() < 6.5 / 2048**0.5  # the largest of 131,000 pairs


def test_a_permutation_has_every_number_once_and_depends_on_the_key():
    first, second = (random.permutation(random.key(0, "order", epoch), 1000) for epoch in (0, 1))
    assert sorted(first) == list(range(1000))
    assert not np.array_equal(first, second)


def test_a_generator_depends_on_seed_and_purpose_only():
    draws = [
        torch.rand(3, generator=random.generator(seed, "init", name))
        for seed, name in ((0, "conv1"), (0, "conv1"), (1, "conv1"), (0, "fc6"))
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])
