"""TrivialAugment, RandAugment, colour jitter, vertical flips and random erasing, beside torchvision's."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from support.crops import random_images
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as theirs

from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.mixing import draw_erased
from distalex.data.augment.policies import BLENDED, CHOICES, GEOMETRIC, Policies
from distalex.data.augment.statistics import Statistics
from distalex.kernels import operations

STATISTICS = Statistics((100.0, 110.0, 120.0), ((2500.0, 0.0, 0.0), (0.0, 3000.0, 0.0), (0.0, 0.0, 3600.0)))
CPU = torch.device("cpu")
SAMPLES = np.arange(6000)
THEIR_NAMES = {name: name.title().replace("_", "") for name in CHOICES} | {
    "saturation": "Color",
    "autocontrast": "AutoContrast",
}


def policies(side=40, **options):
    return Policies(DataConfig(name="cifar10", **options), side, 0)


def by_torchvision(images, name, magnitudes):
    """Each image changed by torchvision's own code of the policies, which takes factors of blends less 1 and thresholds of 1."""
    change = v2.TrivialAugmentWide()._apply_image_or_video_transform
    less, scale = (1.0 if name in BLENDED else 0.0), (255.0 if name == "solarize" else 1.0)
    nearest = v2.InterpolationMode.NEAREST
    return torch.stack(
        [
            change(image, THEIR_NAMES[name], float(magnitude) / scale - less, nearest, {torch.Tensor: None})
            for image, magnitude in zip(images, magnitudes, strict=True)
        ]
    )


def smooth_images(count, side):
    """Images with large areas, noise and one colour, (count, 3, side, side) uint8."""
    noise = random_images(count, side).permute(0, 3, 1, 2)
    waves = (127 + 120 * torch.sin(torch.arange(side) / 5.0)).expand(count, 3, side, side)
    images = (0.7 * waves + 0.3 * noise).to(torch.uint8)
    images[-1] = 77
    return images


@pytest.mark.parametrize("policy", [{"trivial_augment": True}, {"randaugment": (1, 17)}], ids=lambda policy: next(iter(policy)))
@pytest.mark.parametrize("name", CHOICES[1:])
def test_each_operation_is_torchvisions_for_the_same_magnitude(name, policy):
    names, magnitudes = policies(**policy).draw_policy(SAMPLES, 0, 0)
    strengths = np.resize(np.unique(magnitudes[names == name])[::3], 12)
    images = smooth_images(len(strengths), 41)
    ours = getattr(operations, name)(images, torch.from_numpy(strengths.astype(np.float32)))
    difference = (ours.int() - by_torchvision(images, name, strengths).int()).abs()
    if name in GEOMETRIC:  # where a pixel lies between two, fp32 may choose either
        assert (difference > 0).float().mean() < 2e-3
    else:  # a grey of torchvision's fp32 may be rounded down to one less
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01
    assert not torch.equal(ours, images)


def test_magnitudes_are_those_of_torchvisions_tables():
    for ours, peer in ((policies(trivial_augment=True), v2.TrivialAugmentWide()), (policies(randaugment=(1, 9)), v2.RandAugment())):
        names, magnitudes = ours.draw_policy(SAMPLES, 0, 0)
        for name in CHOICES[1:-2]:
            levels, signed = peer._AUGMENTATION_SPACE[THEIR_NAMES[name]]
            expected = levels(31, 40, 40).double().numpy()
            expected = expected if ours.policy == "trivial_augment" else expected[[9]]
            expected = {sign * size for sign in ((1, -1) if signed else (1,)) for size in expected.tolist()}
            found = set(magnitudes[names == name] / (255.0 if name == "solarize" else 1.0) - (1.0 if name in BLENDED else 0.0))
            assert np.allclose(sorted(set(np.round(list(found), 5))), sorted(set(np.round(list(expected), 5))), atol=1e-4), name


def test_operations_levels_and_signs_are_equally_likely_and_differ_by_epoch_and_round():
    ours = policies(trivial_augment=True)
    names, magnitudes = ours.draw_policy(SAMPLES, 0, 0)
    assert stats.chisquare(list(Counter(names.tolist()).values())).pvalue > 1e-3
    assert len(set(names.tolist())) == 14
    angles = magnitudes[names == "rotate"]
    assert abs((angles > 0).mean() - 0.5) < 0.1
    assert stats.chisquare(np.bincount(np.rint(np.abs(angles) / 4.5).astype(int), minlength=31)).pvalue > 1e-3
    for other in (ours.draw_policy(SAMPLES, 1, 0)[0], ours.draw_policy(SAMPLES, 0, 1)[0]):
        assert abs((names == other).mean() - 1 / 14) < 0.02


def test_jitter_is_torchvisions_for_the_same_factors_and_order():
    images = smooth_images(24, 33)
    turns = policies(jitter=(0.4, 0.4, 0.4, 0.1)).draw_jitter(np.arange(24), 0)
    expected = []
    for number, image in enumerate(images):
        for names, factors in turns:
            image = getattr(theirs, f"adjust_{names[number]}")(image, float(factors[number]))
        expected.append(image)
    ours = policies(jitter=(0.4, 0.4, 0.4, 0.1)).apply(images.permute(0, 2, 3, 1), np.arange(24), 0).permute(0, 3, 1, 2)
    difference = (ours.int() - torch.stack(expected).int()).abs()
    assert difference.max() <= 4 and (difference > 1).float().mean() < 0.01  # a level is multiplied by the operations that follow


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.3, 0.5])
def test_a_turned_hue_is_torchvisions(turn):
    images = torch.cat([smooth_images(4, 30), random_images(4, 30).permute(0, 3, 1, 2)])
    difference = operations.hue(images, torch.full((8,), turn)).int() - theirs.adjust_hue(images, turn).int()
    assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.01


def test_jitter_is_drawn_as_torchvision_draws_it():
    reach = (0.4, 1.5, 0.0, 0.2)
    turns = policies(jitter=reach).draw_jitter(SAMPLES, 0)
    torch.manual_seed(0)
    draws = [v2.ColorJitter(*reach).make_params([]) for _ in range(2000)]
    for name in ("brightness", "contrast", "hue"):
        ours = np.concatenate([factors[names == name] for names, factors in turns])
        assert len(ours) == len(SAMPLES)
        assert stats.ks_2samp(ours, [draw[f"{name}_factor"] for draw in draws]).pvalue > 1e-3
    first = Counter(turns[0][0].tolist())
    assert first["identity"] == sum(turns[0][0] == "identity") and stats.chisquare(list(first.values())).pvalue > 1e-3


def test_half_of_the_images_are_flipped_upside_down():
    images = random_images(2000, 6)
    flipped = policies(side=6, vertical_flip=True).apply(images, np.arange(2000), 0)
    is_same, is_flipped = (flipped == images).flatten(1).all(1), (flipped == images.flip(1)).flatten(1).all(1)
    assert (is_same ^ is_flipped).all() and abs(is_flipped.float().mean() - 0.5) < 0.05


def test_rectangles_are_erased_as_torchvision_draws_them():
    boxes = draw_erased(0, SAMPLES, 0, 60, 1.0)
    torch.manual_seed(0)
    draws = [v2.RandomErasing(p=1).make_params([torch.empty(3, 60, 60)]) for _ in range(3000)]
    pairs = {"i": boxes.top, "j": boxes.left, "h": boxes.bottom - boxes.top, "w": boxes.right - boxes.left}
    for name, ours in pairs.items():
        assert stats.ks_2samp(ours, [draw[name] for draw in draws]).pvalue > 1e-3, name
    assert (draw_erased(0, SAMPLES, 0, 60, 0.25).areas() > 0).mean() == pytest.approx(0.25, abs=0.03)


EVERYTHING = {"jitter": (0.4, 0.4, 0.4, 0.1), "vertical_flip": True, "erase": 0.5, "augment": "paper"}


@pytest.mark.parametrize("policy", [{"trivial_augment": True}, {"randaugment": (2, 9)}], ids=lambda policy: next(iter(policy)))
@pytest.mark.parametrize("side", [32, 57])
def test_a_batch_in_any_division_gives_the_same_pixels(policy, side):
    augment = Augmentation(DataConfig(name="cifar10", image_size=64, **EVERYTHING, **policy), side, STATISTICS, 0, CPU)
    images, samples = random_images(97, side), np.random.default_rng(0).permutation(1000)[:97]
    given = images.clone()
    whole = augment.policies.apply(images, samples, 3)
    for count in (2, 97):
        parts = np.array_split(np.arange(97), count)
        assert torch.equal(torch.cat([augment.policies.apply(images[part], samples[part], 3) for part in parts]), whole)
    assert torch.equal(images, given)
    crops = augment.train(images, samples, 3)
    assert torch.equal(augment.train(images[5:9], samples[5:9], 3), crops[5:9])
    assert augment.train(images[:0], samples[:0], 3).shape == (0, 3, 64, 64)


def test_nothing_is_drawn_where_nothing_is_asked_for():
    assert not policies(jitter=(0.0, 0.0), erase=0.5)
    assert policies(vertical_flip=True) and policies(jitter=(0.0, 0.2)) and policies(randaugment=(1, 5))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--data.trivial_augment=true", "--data.randaugment=2,9"], "data.randaugment=2,9: does not go with data.trivial_augment=true"),
        (["--data.randaugment=2"], "data.randaugment=2: a number of changes up to 14 and a strength up to 30"),
        (["--data.randaugment=2,31"], "data.randaugment=2,31: a number"),
        (["--data.jitter=0.4,0.4,0.4,0.6"], "data.jitter=0.4,0.4,0.4,0.6: up to four"),
        (["--data.jitter=-1"], "data.jitter=-1: up to four"),
    ],
)
def test_policies_that_cannot_be_are_refused_in_a_line(capsys, typed, words):
    assert main(["train", "--config=digits", *typed]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
