"""mixup and CutMix: what is mixed with what, by how much, and what the loss makes of it."""

import numpy as np
import pytest
import torch
from scipy import stats
from support.data import opened
from support.runs import small
from torch.nn import functional

from distalex.config.data import DataConfig
from distalex.data.augment.mixing import Mixing
from distalex.data.batches import Batch, MicroBatch, Mixed
from distalex.train.loop import summed_loss

SAMPLES = np.arange(4000)


def mixing(**options):
    return Mixing(DataConfig(name="cifar10", image_size=64, **options), 0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixups_shares_have_the_beta_distribution(alpha):
    shares = mixing(mixup=alpha).shares(SAMPLES, 0)
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_mixup_is_a_mean_weighed_by_the_share():
    own, other = torch.rand(2, 50, 3, 64, 64)
    ours = mixing(mixup=0.4)
    share = torch.from_numpy(ours.shares(SAMPLES[:50], 3))[:, None, None, None]
    mixed = ours.mix(own, other, SAMPLES[:50], 3)
    assert torch.allclose(mixed, share * own + (1 - share) * other, atol=1e-6)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_cutmix_puts_a_box_of_the_partner_in_and_its_area_is_the_share():
    own, other = torch.zeros(500, 3, 64, 64), torch.ones(500, 3, 64, 64)
    ours = mixing(cutmix=1.0)
    mixed = ours.mix(own, other, SAMPLES[:500], 0)
    inside = mixed[:, 0] == 1
    assert torch.equal(mixed, inside[:, None].expand_as(mixed).float())
    assert torch.equal(inside.sum((1, 2)), inside.any(2).sum(1) * inside.any(1).sum(1))  # rectangles
    assert ours.shares(SAMPLES[:500], 0) == pytest.approx(1 - inside.float().mean((1, 2)).numpy(), abs=1e-6)


def test_cutmix_draws_its_boxes_as_published():
    """Yun et al. 2019, Algorithm 1: sides of sqrt(1 - Beta(1, 1)), cut off at the edges; by the same test against their code."""
    draw, theirs = np.random.default_rng(0), []
    for share in draw.beta(1.0, 1.0, 4000):
        length = int(64 * np.sqrt(1.0 - share))
        edges = [np.clip(middle + np.array([-length // 2, length // 2]), 0, 64) for middle in draw.integers(0, 64, 2)]
        theirs.append(1 - np.diff(edges).prod() / 64**2)
    assert stats.ks_2samp(mixing(cutmix=1.0).shares(SAMPLES, 0), theirs).pvalue > 1e-3


def test_a_coin_picks_one_of_the_two():
    both = mixing(mixup=1.0, cutmix=1.0)
    own, other = torch.zeros(1000, 3, 64, 64), torch.ones(1000, 3, 64, 64)
    mixed = both.mix(own, other, SAMPLES[:1000], 0)[:, 0].flatten(1)
    blended = ((mixed > 0) & (mixed < 1)).all(1)
    cut = ((mixed == 0) | (mixed == 1)).all(1)
    assert (blended | cut).all()
    assert abs(cut.double().mean() - 0.5) < 5 * 0.5 / 1000**0.5


def test_partners_are_any_other_sample():
    partners = mixing(mixup=1.0).partners(np.arange(10), 0, 10)
    assert (partners != np.arange(10)).all()
    partners = np.stack([mixing(mixup=1.0).partners(np.arange(10), epoch, 10) for epoch in range(400)])
    assert (partners != np.arange(10)).all()
    counts = np.array([(partners == number).sum() for number in range(10)])
    assert stats.chisquare(counts).pvalue > 1e-3
    assert mixing(mixup=1.0).partners(np.zeros(1, np.int64), 0, 1) == [0]  # of one image


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_both_labels_as_targets(smoothing):
    draw = torch.Generator().manual_seed(0)
    logits, shares = torch.randn(20, 7, generator=draw), torch.rand(20, generator=draw)
    labels, partners = torch.randint(0, 7, (2, 20), generator=draw)
    target = shares[:, None] * functional.one_hot(labels, 7) + (1 - shares[:, None]) * functional.one_hot(partners, 7)
    expected = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    part = MicroBatch(torch.empty(0), labels, 0, Mixed(partners, shares))
    assert torch.allclose(summed_loss(logits, part, smoothing), expected, rtol=1e-5)  # fp32 sums in another order


def test_micro_batches_keep_their_partners():
    labels = torch.arange(7)
    batch = Batch(torch.arange(7.0), labels, np.arange(7), 0, 7, None, Mixed(labels + 10, labels / 10))
    parts = list(batch.micro_batches(3))
    assert torch.cat([part.mix.labels for part in parts]).tolist() == (labels + 10).tolist()
    assert all(torch.equal(part.mix.shares, part.labels / 10) for part in parts)


@pytest.mark.parametrize("loader", ["ffcv", "torchvision"])
def test_batches_are_crops_of_samples_and_partners_mixed(alone, photographs, loader):
    """By hand from the stored images, one sample at a time."""
    settings = small(
        data__name="folder",
        data__root=str(photographs),
        data__stored_size="72",
        data__loader=loader,
        data__workers="1",
        data__mixup="1",
        data__cutmix="1",
        data__rotate="10",
        train__batch_size="10",
    )
    split = opened(settings, alone).train
    ((stored, labels),) = [(images.clone(), labels.clone()) for images, labels in split.reader.read([np.arange(10)])]
    few = len(stored)
    batches = list(split.train(2))
    assert [len(batch.labels) for batch in batches] == [10, 10, 10, 6]
    every = np.concatenate([batch.samples for batch in batches])
    assert sorted(every) == list(range(36))
    checked = 0
    for batch in batches:
        partners = split.augmentation.mixing.partners(batch.samples, 2, 36)
        for row, (sample, partner) in enumerate(zip(batch.samples, partners, strict=True)):
            if max(sample, partner) >= few:
                continue
            own, other = (split.augmentation.train(stored[[number]], np.array([number]), 2) for number in (sample, partner))
            expected = split.augmentation.mixing.mix(own, other, np.array([sample]), 2)[0]
            assert torch.allclose(batch.images[row], expected, atol=1e-5)
            assert (batch.labels[row], batch.mix.labels[row]) == (labels[sample], labels[partner])
            assert batch.mix.shares[row] == split.augmentation.mixing.shares(np.array([sample]), 2)[0]
            checked += 1
    assert checked
    shown = split.augmented(batches[0].samples[:4], 2)
    assert torch.allclose(shown.images, batches[0].images[:4], atol=1e-5)
