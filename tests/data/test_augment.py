import numpy as np
import pytest
import torch
from scipy import stats
from support.crops import crop_arguments, random_images
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode, resized_crop

from distalex.config.data import DataConfig
from distalex.data.augment.augmentation import Augmentation, draw_resized_crops
from distalex.data.augment.statistics import Statistics
from distalex.kernels import crops, crops_numba
from distalex.kernels.arrays import recycled
from distalex.kernels.crops import Crops, resize, resize_matrices, rotate

STATISTICS = Statistics((100.0, 110.0, 120.0), ((2500.0, 2000.0, 1500.0), (2000.0, 3000.0, 1800.0), (1500.0, 1800.0, 3600.0)))
CPU = torch.device("cpu")


def augmentation(side=32, **options):
    return Augmentation(DataConfig(name="cifar10", **options), side, STATISTICS, 0, CPU)


def test_windows_are_the_slices_they_say():
    images, top, left, mirrored, side, shift, scale = crop_arguments()
    padded = functional.pad(images, (0, 0, 4, 4, 4, 4))
    out = crops_numba.normalised_crops(images, top, left, mirrored, side, shift, scale, torch.float32)
    for number in range(64):
        cut = padded[number, top[number] + 4 : top[number] + 4 + side, left[number] + 4 : left[number] + 4 + side].float()
        expected = ((cut.flip(1) if mirrored[number] else cut) - shift[number]) * scale
        assert torch.allclose(out[number], expected, rtol=1e-6, atol=1e-5)  # a fused multiply-add


def test_memory_is_used_again_only_where_nobody_holds_it():
    first = recycled((64, 7), torch.bfloat16)
    view = first[3:5].view(torch.uint16)
    place = first.data_ptr()
    del first
    assert recycled((64, 7), torch.bfloat16).data_ptr() != place  # a view of it is alive
    del view
    assert recycled((64, 7), torch.bfloat16).data_ptr() == place
    assert recycled((64, 7), torch.float32).data_ptr() != place


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_windows_by_indexing_are_the_compiled_ones(dtype):
    compiled = crops_numba.normalised_crops(*crop_arguments(), dtype)
    indexed = crops.normalised_crops(*crop_arguments(), dtype)
    assert torch.allclose(compiled.float(), indexed.float(), rtol=1e-6 if dtype == torch.float32 else 2**-8, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_windows_are_the_same_on_a_gpu():
    on_gpu = crops.normalised_crops(*crop_arguments("cuda"), torch.float32).cpu()
    assert torch.allclose(on_gpu, crops_numba.normalised_crops(*crop_arguments(), torch.float32), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("side", "wanted"), [(32, 96), (8, 64), (224, 227), (256, 64), (100, 99)])
def test_resizing_is_torchs_bilinear_resizing(side, wanted):
    x = random_images(3, side).permute(0, 3, 1, 2).float()
    ours = resize(x, *resize_matrices(side, wanted, CPU, torch.float32))
    theirs = functional.interpolate(x, size=(wanted, wanted), mode="bilinear", antialias=wanted < side)
    assert torch.allclose(ours, theirs, atol=1e-3)  # of 255; fp32 products
    assert ours.is_contiguous(memory_format=torch.channels_last)


EVERYTHING = {"augment": "resized_crop", "rotate": 20, "cutout": 0.25}


@pytest.mark.parametrize("options", [{"augment": "paper", "crop": 0.75}, EVERYTHING])
def test_draws_belong_to_the_sample_and_the_epoch(options):
    augment, images = augmentation(image_size=64, **options), random_images(6, 32)
    samples = np.array([5, 900, 17, 3, 2, 44])
    whole = augment.train(images, samples, 3)
    assert torch.equal(augment.train(images[2:4], samples[2:4], 3), whole[2:4])
    assert not torch.equal(augment.train(images, samples, 4), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("augment", ["none", "crop", "flip_crop", "paper", "resized_crop"])
def test_crops_are_channels_last_in_the_networks_arithmetic_and_may_be_none(augment, dtype):
    options = DataConfig(name="cifar10", **{**EVERYTHING, "augment": augment, "image_size": 64})
    of_40 = Augmentation(options, 40, STATISTICS, 0, CPU, dtype)
    for count in (0, 3):
        x = of_40.train(random_images(count, 40), np.arange(count), 0)
        assert (x.shape, x.dtype) == ((count, 3, 64, 64), dtype)
        assert x.is_contiguous(memory_format=torch.channels_last)


def some_crops(side):
    """Crops of six images of `side` pixels, of all shapes down to one pixel, with every other mirrored."""
    crops = np.array([[0, 0, side, side], [0, 3, side - 1, 5], [side - 4, 2, 4, side // 2], [7, 7, 1, 1], [1, 0, 9, 12], [5, 6, 8, 6]])
    return Crops(*crops.T.astype(np.int64)), np.arange(6) % 2 == 1


def torchvisions_crops(images, crops, mirrored, wanted):
    planes = images.permute(0, 3, 1, 2).float()
    views = [
        resized_crop(plane, *map(int, crop), [wanted, wanted], InterpolationMode.BILINEAR, antialias=True)
        for plane, *crop in zip(planes, *crops, strict=True)
    ]
    return torch.stack([view.flip(2) if flip else view for view, flip in zip(views, mirrored, strict=True)]).permute(0, 2, 3, 1)


@pytest.mark.parametrize("kernels", [crops, crops_numba], ids=["matrices", "compiled"])
@pytest.mark.parametrize(("side", "wanted"), [(32, 96), (300, 64), (256, 224), (20, 19)])
def test_resized_crops_are_torchvisions(kernels, side, wanted):
    images, (crops, mirrored) = random_images(6, side), some_crops(side)
    expected = torchvisions_crops(images, crops, mirrored, wanted)
    black, one = torch.zeros(6, 3), torch.ones(3)
    exact = kernels.resized_crops(images, crops, mirrored, wanted, black, one, torch.float32)
    assert torch.allclose(exact, expected, rtol=0, atol=0.01)  # of 255; fp32 knows a place in 256 pixels to 1.5e-5, and so its weight
    rough = kernels.resized_crops(images, crops, mirrored, wanted, black, one, torch.bfloat16)
    assert (rough.float() - expected).abs().max() < 3.0  # of 255: weights, a sum and the result are each rounded to 2**-9 of themselves


@pytest.mark.parametrize("kernels", [crops, crops_numba], ids=["matrices", "compiled"])
def test_resized_crops_are_normalised(kernels):
    images, (crops, mirrored), shift = random_images(6, 40), some_crops(40), torch.arange(18.0).view(6, 3)
    scale = torch.tensor([0.5, 1.0, 2.0])
    plain = kernels.resized_crops(images, crops, mirrored, 64, torch.zeros(6, 3), torch.ones(3), torch.float32)
    normalised = kernels.resized_crops(images, crops, mirrored, 64, shift, scale, torch.float32)
    assert torch.allclose(normalised, (plain - shift[:, None, None]) * scale, rtol=0, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("augment", ["paper", "resized_crop"])
def test_crops_are_the_same_on_a_gpu(augment):
    options = DataConfig(name="cifar10", **{**EVERYTHING, "augment": augment, "image_size": 64})
    on_cpu, on_gpu = (Augmentation(options, 40, STATISTICS, 0, torch.device(name)) for name in ("cpu", "cuda"))
    samples, images = np.arange(50), random_images(50, 40)
    ours, theirs = on_cpu.train(images, samples, 0), on_gpu.train(images.cuda(), samples, 0).cpu()
    assert (ours - theirs).abs().mean() < 1e-4  # of a spread of 1; a pixel at the edge of a turned view may fall outside


def test_crops_are_drawn_as_torchvision_draws_them():
    """Heights, widths and places of 3,000 windows each, by Kolmogorov and Smirnov's test; some tries do not fit."""
    for scale in ((0.08, 1.0), (0.7, 1.0)):
        ours = draw_resized_crops(0, np.arange(3000), 0, 100, scale)
        torch.manual_seed(0)
        draw = v2.RandomResizedCrop(64, scale=scale).make_params
        theirs = [draw([torch.empty(3, 100, 100)]) for _ in range(3000)]
        for name in Crops._fields:
            assert stats.ks_2samp(getattr(ours, name), [params[name] for params in theirs]).pvalue > 1e-3, (scale, name)
        assert (ours.top + ours.height).max() == (ours.left + ours.width).max() == 100


def test_a_crop_that_never_fits_is_the_whole_image():
    """Of the whole area only a square does, which one shape in hundreds is."""
    crops = draw_resized_crops(0, np.arange(500), 0, 1024, (1.0, 1.0))
    whole = (crops.height == 1024) & (crops.width == 1024) & (crops.top == 0) & (crops.left == 0)
    assert whole.all()


@pytest.mark.parametrize("degrees", [-45.0, -7.3, 0.0, 30.0])
def test_turning_is_torchvisions(degrees):
    x = random_images(2, 64).permute(0, 3, 1, 2).float()
    expected = v2.functional.rotate(x, degrees, InterpolationMode.BILINEAR)
    ours = rotate(x, np.full(2, degrees), torch.zeros(2, 3))
    # Of 255; one pixel in a thousand lies so close to the edge that rounding decides whether black is mixed in
    assert ((ours - expected).abs() < 0.05).double().mean() > 0.999


def test_what_comes_in_from_outside_is_black():
    white = torch.full((300, 64, 64, 3), 255, dtype=torch.uint8)
    augment = augmentation(side=64, image_size=64, augment="none", rotate=30)
    x = augment.train(white, np.arange(300), 0)
    black, bright = (augment.test(torch.full((1, 64, 64, 3), level, dtype=torch.uint8))[0, :, 0, 0] for level in (0, 255))
    assert torch.allclose(x[:, :, 32, 32], bright.expand(300, 3), atol=1e-5)
    assert torch.allclose(x[:, :, 0, 0].amin(0), black, atol=1e-5)
    turned = (x[:, 0, 0, :] < bright[0] - 0.1).sum(1)  # of the uppermost row
    assert turned.max() > 32
    assert turned.min() <= 2


def test_cutout_is_a_square_of_the_mean_colour_anywhere():
    images = torch.full((2000, 64, 64, 3), 200, dtype=torch.uint8)
    x = augmentation(side=64, image_size=64, augment="none", cutout=0.25).train(images, np.arange(2000), 0)
    cut = (x == 0).all(1)
    height, width = (cut.any(way).sum(1) for way in (2, 1))
    assert torch.equal(cut.sum((1, 2)), height * width)  # each a rectangle
    whole = (height == 16) & (width == 16)
    # Its centre is anywhere, so 8 of 64 of the centres at one edge and 7 at the other lose some of it.
    assert whole.double().mean() == pytest.approx((49 / 64) ** 2, abs=5 * 0.5 / 2000**0.5)
    assert height.min() == width.min() == 8
    assert (cut.double().mean(0)[20:44, 20:44] - 1 / 16).abs().max() < 5 * (1 / 16 / 2000) ** 0.5


def test_flip_crop_mirrors_half_and_reaches_every_offset():
    augment = augmentation(image_size=64, augment="flip_crop", pad=0.0, crop=0.75, normalize="tutorial", side=64)  # a window of 48 of 64
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 64, 64)[..., None].expand(2000, 64, 64, 3).contiguous()
    out = augment.train(ramp, np.arange(2000), 0)
    left, right = out[:, 0, 30, 0], out[:, 0, 30, -1]
    assert abs((left > right).double().mean() - 0.5) < 5 * 0.5 / 2000**0.5
    offsets = ((torch.minimum(left, right) + 1) * 127.5).round().unique()
    assert len(offsets) == 17


def test_crop_never_mirrors():
    augment = augmentation(image_size=64, augment="crop", side=64)
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 64, 64)[..., None].expand(200, 64, 64, 3).contiguous() + 100
    out = augment.train(ramp, np.arange(200), 0)
    assert (out[:, 0, 32, 40] > out[:, 0, 32, 20]).all()


def test_the_test_crop_is_the_centre():
    augment, images = augmentation(image_size=96, crop=0.75, normalize="tutorial", side=128), random_images(2, 128)
    expected = images[:, 16:112, 16:112].permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(augment.test(images), expected, atol=1e-6)


@pytest.mark.parametrize(("normalize", "mean", "std"), [("tutorial", 127.5, 127.5), ("paper", None, 1.0), ("standard", None, None)])
def test_scales(normalize, mean, std):
    images = random_images(2, 64)
    x = augmentation(image_size=64, normalize=normalize, side=64).test(images)
    for channel in range(3):
        middle = STATISTICS.mean[channel] if mean is None else mean
        spread = STATISTICS.covariance[channel][channel] ** 0.5 if std is None else std
        assert torch.allclose(x[:, channel], (images[..., channel].float() - middle) / spread, atol=1e-4)


def test_imagenets_scale_is_the_one_of_torchvisions_weights():
    from torchvision.transforms.functional import normalize

    images = random_images(2, 64)
    ours = augmentation(image_size=64, crop=1.0, normalize="imagenet", side=64).test(images)
    theirs = normalize(images.permute(0, 3, 1, 2).float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_colour_noise_has_the_papers_covariance():
    """0.1 standard deviations along each principal component, so a hundredth of the colours' covariance."""
    noise = augmentation(augment="paper")._colour_noise(np.arange(50_000), 0).view(-1, 3).double()
    expected = torch.tensor(STATISTICS.covariance, dtype=torch.float64) / 100
    assert torch.allclose(torch.cov(noise.T), expected, rtol=0.05)  # of 50,000 draws
    assert noise.mean(0).abs().max() < 5 * 6 / 50_000**0.5


def test_imagenets_colour_noise_follows_the_2012_codes_components():
    noise = augmentation(augment="paper", colour="imagenet")._colour_noise(np.arange(50_000), 0).double()
    vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=torch.float64)
    along = (noise @ vectors).std(0)  # the vectors are orthonormal to three digits
    assert torch.allclose(along, torch.tensor([12.178, 3.709, 1.972], dtype=torch.float64), rtol=0.02)  # of 50,000 draws


@pytest.mark.parametrize("side", [64, 80])
def test_the_ten_crops_are_the_papers(side):
    """Four corners, the centre and their mirror images: of the image, or of its black margin where the window is all of it."""
    options = {"crop": 0.8, "pad": 0.0} if side == 80 else {"pad": 0.125}
    images = random_images(3, side)
    ten = list(augmentation(side=side, image_size=64, normalize="tutorial", **options).ten_crops(images))
    margin, last = (0, 16) if side == 80 else (8, 16)
    x = functional.pad(images.permute(0, 3, 1, 2).float(), [margin] * 4) / 127.5 - 1
    corners = [(0, 0), (0, last), (last, 0), (last, last), (8, 8)]
    expected = [x[..., top : top + 64, left : left + 64] for top, left in corners]
    for number, cut in enumerate(expected):
        assert torch.allclose(ten[2 * number], cut, atol=1e-5)
        assert torch.allclose(ten[2 * number + 1], cut.flip(3), atol=1e-5)
    assert len(ten) == 10
