"""Operations of augmentation policies on batches of uint8 images, each image with a magnitude of its own.

Each does to every image what torchvision.transforms.v2.functional's function of that name does to one, and calls it where it takes
images of different magnitudes. Images are (n, 3, height, width) uint8 with any strides, on any device; magnitudes (n,) fp32 on the same.
An image's pixels do not depend on the others of its batch: sums are of integers, and nothing is fused.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image by its factor."""
    return _to_pixels(images * _each(factor))


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its grey version, whose share is 1 - factor."""
    return _blend(images, _grey(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with the mean of its grey version, whose share is 1 - factor."""
    grey = _grey(images)
    return _blend(images, grey.sum((1, 2, 3), keepdim=True) / grey[0].numel(), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image, except for its border, with a smoothed version, whose share is 1 - factor."""
    if min(images.shape[2:]) <= 2:
        return images
    wide = images.int()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]) / 13
    out, inner = images.clone(), images[:, :, 1:-1, 1:-1]
    out[:, :, 1:-1, 1:-1] = _to_pixels(inner + (1.0 - _each(factor)) * (smooth.round() - inner))
    return out


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits` of each pixel."""
    return images & _each((256 - 2 ** (8 - bits)).to(torch.uint8))


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the pixels that are not below the threshold."""
    return torch.where(images >= _each(threshold), 255 - images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel of each image to 0..255."""
    from torchvision.transforms.v2 import functional as torchvisions  # a second to import

    return torchvisions.autocontrast(images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Equalise the histogram of each channel of each image."""
    from torchvision.transforms.v2 import functional as torchvisions

    return torchvisions.equalize(images)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Add `turn`, of a whole turn, to the hue of each pixel."""
    x = images.float() / 255
    low, value = torch.aminmax(x, dim=1)
    spread = value - low
    red, green, blue = ((value[:, None] - x) / torch.where(spread > 0, spread, 1.0)[:, None]).unbind(1)
    angle = torch.where(value == x[:, 0], blue - green, torch.where(value == x[:, 1], 2.0 + red - blue, 4.0 + green - red))
    sixths = (angle / 6 + turn[:, None, None]).remainder(1.0) * 6  # of a turn from red
    places = (sixths[:, None] + sixths.new_tensor([5.0, 3.0, 1.0])[:, None, None]).remainder(6.0)
    shares = torch.minimum(places, 4.0 - places).clamp(0.0, 1.0)
    return ((value[:, None] - spread[:, None] * shares) * 255.999).to(torch.uint8)  # as torchvision rounds


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Move each row to the left by `slope` times its distance from the top."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return _warp(images, [one, slope, slope * (images.shape[2] / 2)], [zero, one, zero])


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Move each column up by `slope` times its distance from the left."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return _warp(images, [one, zero, zero], [slope, one, slope * (images.shape[3] / 2)])


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    """Move each image to the right by whole pixels."""
    one, zero = torch.ones_like(pixels), torch.zeros_like(pixels)
    return _warp(images, [one, zero, -pixels.trunc()], [zero, one, zero])


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    """Move each image down by whole pixels."""
    one, zero = torch.ones_like(pixels), torch.zeros_like(pixels)
    return _warp(images, [one, zero, zero], [zero, one, -pixels.trunc()])


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image counter-clockwise about its centre."""
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    zero = torch.zeros_like(degrees)
    return _warp(images, [cosine, -sine, zero], [sine, cosine, zero])


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    """(n, 1, height, width) int32: luminance, rounded down."""
    red, green, blue = images.int().split(1, 1)
    return torch.div(2989 * red + 5870 * green + 1140 * blue, 10000, rounding_mode="floor")


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    share = _each(factor)
    return _to_pixels(images * share + other * (1.0 - share))


def _to_pixels(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)


def _warp(images: Tensor, across: list[Tensor], down: list[Tensor]) -> Tensor:
    """Read each pixel from the nearest of the image, black outside of it.

    A pixel at (x, y) from the centre is read at x', which is `across` times (x, y, 1), and y', `down` times it.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) + (0.5 - width / 2)
    y = (torch.arange(height, device=images.device) + (0.5 - height / 2))[:, None]
    read = [a[:, None, None] * x + b[:, None, None] * y + c[:, None, None] for a, b, c in (across, down)]
    grid = torch.stack([read[0] / (width / 2), read[1] / (height / 2)], 3)
    return functional.grid_sample(images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False).to(torch.uint8)
