import numpy as np
import pytest
import torch
from torch.nn import functional

from distalex import config
from distalex.augment import Statistics, Views, normalised_windows_of, resize, resize_matrices
from distalex.augment_cpu import normalised_windows

STATISTICS = Statistics((100.0, 110.0, 120.0), ((2500.0, 2000.0, 1500.0), (2000.0, 3000.0, 1800.0), (1500.0, 1800.0, 3600.0)))
CPU = torch.device("cpu")


def views(side=32, **options):
    return Views(config.Data(name="cifar10", **options), side, STATISTICS, 0, CPU)


def pictures(count, side):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def some_windows(device="cpu"):
    """Arguments of `normalised_windows`: 64 windows of 32 pixels of 40, reaching up to 4 pixels over each edge."""
    draw = np.random.default_rng(1)
    top, left, mirrored = draw.integers(-4, 13, 64), draw.integers(-4, 13, 64), draw.random(64) < 0.5
    shift = torch.from_numpy(draw.random((64, 3), dtype=np.float32) * 100)
    return pictures(64, 40).to(device), top, left, mirrored, 32, shift.to(device), torch.tensor([0.5, 1.0, 2.0], device=device)


def test_windows_are_the_slices_they_say():
    images, top, left, mirrored, side, shift, scale = some_windows()
    padded = functional.pad(images, (0, 0, 4, 4, 4, 4))
    out = normalised_windows(images, top, left, mirrored, side, shift, scale, torch.float32)
    for number in range(64):
        cut = padded[number, top[number] + 4 : top[number] + 4 + side, left[number] + 4 : left[number] + 4 + side].float()
        expected = ((cut.flip(1) if mirrored[number] else cut) - shift[number]) * scale
        assert torch.allclose(out[number], expected, rtol=1e-6, atol=1e-5)  # a fused multiply-add


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_windows_by_indexing_are_the_compiled_ones(dtype):
    compiled = normalised_windows(*some_windows(), dtype)
    indexed = normalised_windows_of(*some_windows(), dtype)
    assert torch.allclose(compiled.float(), indexed.float(), rtol=1e-6 if dtype == torch.float32 else 2**-8, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_windows_are_the_same_on_a_gpu():
    on_gpu = normalised_windows_of(*some_windows("cuda"), torch.float32).cpu()
    assert torch.allclose(on_gpu, normalised_windows(*some_windows(), torch.float32), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("side", "wanted"), [(32, 96), (8, 64), (224, 227), (256, 64), (100, 99)])
def test_resizing_is_torchs_bilinear_resizing(side, wanted):
    x = pictures(3, side).permute(0, 3, 1, 2).float()
    ours = resize(x, *resize_matrices(side, wanted, CPU, torch.float32))
    theirs = functional.interpolate(x, size=(wanted, wanted), mode="bilinear", antialias=wanted < side)
    assert torch.allclose(ours, theirs, atol=1e-3)  # of 255; fp32 products
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_draws_belong_to_the_sample_and_the_epoch():
    view, images = views(image_size=64, augment="paper", crop=0.75), pictures(6, 32)
    samples = np.array([5, 900, 17, 3, 2, 44])
    whole = view.train(images, samples, 3)
    assert torch.equal(view.train(images[2:4], samples[2:4], 3), whole[2:4])
    assert not torch.equal(view.train(images, samples, 4), whole)


def test_flip_crop_mirrors_half_and_reaches_every_offset():
    view = views(image_size=64, augment="flip_crop", pad=0.0, crop=0.75, normalize="tutorial", side=64)  # a window of 48 of 64
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 64, 64)[..., None].expand(2000, 64, 64, 3).contiguous()
    out = view.train(ramp, np.arange(2000), 0)
    left, right = out[:, 0, 30, 0], out[:, 0, 30, -1]
    assert abs((left > right).double().mean() - 0.5) < 5 * 0.5 / 2000**0.5
    offsets = ((torch.minimum(left, right) + 1) * 127.5).round().unique()
    assert len(offsets) == 17


def test_crop_never_mirrors():
    view = views(image_size=64, augment="crop", side=64)
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 64, 64)[..., None].expand(200, 64, 64, 3).contiguous() + 100
    out = view.train(ramp, np.arange(200), 0)
    assert (out[:, 0, 32, 40] > out[:, 0, 32, 20]).all()


def test_the_test_view_is_the_centre():
    view, images = views(image_size=96, crop=0.75, normalize="tutorial", side=128), pictures(2, 128)
    expected = images[:, 16:112, 16:112].permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(view.test(images), expected, atol=1e-6)


@pytest.mark.parametrize(("normalize", "mean", "std"), [("tutorial", 127.5, 127.5), ("paper", None, 1.0), ("standard", None, None)])
def test_scales(normalize, mean, std):
    images = pictures(2, 64)
    x = views(image_size=64, normalize=normalize, side=64).test(images)
    for channel in range(3):
        middle = STATISTICS.mean[channel] if mean is None else mean
        spread = STATISTICS.covariance[channel][channel] ** 0.5 if std is None else std
        assert torch.allclose(x[:, channel], (images[..., channel].float() - middle) / spread, atol=1e-4)


def test_colour_noise_has_the_papers_covariance():
    """0.1 standard deviations along each principal component, so a hundredth of the colours' covariance."""
    noise = views(augment="paper")._colour_noise(np.arange(50_000), 0).view(-1, 3).double()
    expected = torch.tensor(STATISTICS.covariance, dtype=torch.float64) / 100
    assert torch.allclose(torch.cov(noise.T), expected, rtol=0.05)  # of 50,000 draws
    assert noise.mean(0).abs().max() < 5 * 6 / 50_000**0.5
