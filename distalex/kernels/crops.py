"""Crops of stored images: cut, mirrored, normalised, resized and rotated, in PyTorch's operations on any device.

`data.augment` draws where they lie. `crops_numba` (CPU) and `crops_triton` (GPU) have faster versions of the first two functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Crops(NamedTuple):
    """One rectangle of each image, in pixels of the stored image; each field is (n,) int64."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray


def normalised_crops(
    images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, side: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """Cut one square of `side` pixels from each image, mirror it where `mirrored`, and return (crop - shift) * scale.

    `images` (n, height, width, 3) uint8; `top` and `left` (n,) int64 may lie outside of the image, which is black there; `mirrored`
    (n,) bool; `shift` (n, 3) and `scale` (3,) fp32, on 0..255. The result is (n, side, side, 3) of `dtype`, on the images' device.
    """
    height, width = images.shape[1:3]
    over = [-top, -left, top + side - height, left + side - width]
    margin = max(0, *(int(pixels.max()) for pixels in over)) if len(images) else 0
    if margin:
        images = functional.pad(images, (0, 0, margin, margin, margin, margin))
    offsets = np.stack([top + margin, left + margin, mirrored.astype(np.int64)])
    first_row, first_column, flips = torch.from_numpy(offsets).to(images.device, non_blocking=True)
    along = torch.arange(side, device=images.device)
    rows = first_row[:, None] + along
    columns = first_column[:, None] + torch.where(flips[:, None] > 0, side - 1 - along, along)
    number = torch.arange(len(images), device=images.device)
    cut = images[number[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut.float().sub_(shift[:, None, None]).mul_(scale).to(dtype)


def resized_crops(
    images: Tensor, crops: Crops, mirrored: np.ndarray, wanted: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """Resize `crops`, which lie inside the images, to squares of `wanted` pixels and return (crop - shift) * scale.

    Other arguments as for `normalised_crops`; the result is (n, wanted, wanted, 3) of `dtype`. Resizing is bilinear, and anti-aliased
    where it shrinks, as torchvision's `resized_crop` is. It is separable, so it is a product with a matrix of weights for the rows
    and one for the columns of every image.
    """
    numbers = torch.from_numpy(np.stack([*crops, mirrored.astype(np.int64)])).to(images.device, non_blocking=True)
    top, left, height, width, flips = numbers
    rows = triangle_weights(top, height, images.shape[1], wanted)
    columns = triangle_weights(left, width, images.shape[2], wanted)
    columns = torch.where(flips[:, None, None] > 0, columns.flip(1), columns)
    planes = images.permute(0, 3, 1, 2).to(dtype).flatten(1, 2)  # one colour below the other; 0..255 is exact in bf16 too
    narrow = torch.bmm(planes, columns.to(dtype).transpose(1, 2)).unflatten(1, (3, images.shape[1]))
    x = torch.matmul(rows.to(dtype)[:, None], narrow).permute(0, 2, 3, 1)
    return x.float().sub_(shift[:, None, None]).mul_(scale).to(dtype).contiguous()


def triangle_weights(first: Tensor, length: Tensor, side: int, wanted: int) -> Tensor:
    """Weights of bilinear, anti-aliased resizing in one dimension, (n, wanted, side) fp32.

    Row i says how much of each of `side` stored pixels goes into pixel i of `wanted`, which together cover the `length` (n,) pixels
    from `first` (n,) on. Weights fall linearly to 0 at the distance of one pixel, the larger of a stored and a wanted one, and sum to 1.
    """
    scale = (length / wanted)[:, None, None]
    centres = first[:, None, None] + (torch.arange(wanted, device=first.device)[:, None] + 0.5) * scale
    pixels = torch.arange(side, device=first.device)
    weights = (1.0 - (pixels + 0.5 - centres).abs() / scale.clamp_min(1.0)).clamp_min_(0.0)
    start, stop = first[:, None, None], (first + length)[:, None, None]
    weights = torch.where((pixels >= start) & (pixels < stop), weights, 0.0)
    return weights / weights.sum(2, keepdim=True)


def resize_matrices(side: int, wanted: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The two matrices of `resize`: for rows, (wanted, side), and for columns with their colours, (3 side, 3 wanted)."""
    pixels = torch.eye(side)[None, None]
    along = functional.interpolate(pixels, size=(wanted, side), mode="bilinear", antialias=wanted < side)[0, 0]
    rows, columns = along, torch.kron(along.T.contiguous(), torch.eye(3))
    return rows.to(device, dtype), columns.to(device, dtype)


def resize(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resize channels-last squares (n, 3, side, side) to (n, 3, wanted, wanted), bilinear, anti-aliased where they shrink.

    `rows` and `columns` are those of `resize_matrices`. Two matrix products take a tenth of the time of PyTorch's interpolation of
    three channels on a CPU.
    """
    n, _, side, _ = x.shape
    wanted = len(rows)
    stretched = torch.matmul(rows, x.permute(0, 2, 3, 1).reshape(n, side, side * 3))
    return (stretched.view(n * wanted, side * 3) @ columns).view(n, wanted, wanted, 3).permute(0, 3, 1, 2)


def rotate(x: Tensor, degrees: np.ndarray, outside: Tensor) -> Tensor:
    """Rotate images (n, 3, size, size) counter-clockwise about their centres by `degrees` (n,), bilinear; the result is channels-last.

    `outside` (n, 3) is the colour that fills the corners, in the units of `x`.
    """
    radians, size = np.deg2rad(degrees), x.shape[-1]
    turns = np.stack([np.cos(radians), np.sin(radians)]).astype(np.float32)
    cosine, sine = torch.from_numpy(turns).to(x.device, non_blocking=True)[:, :, None, None]
    along = (torch.arange(size, device=x.device) + 0.5) * (2.0 / size) - 1.0  # centres of pixels, in an image from -1 to 1
    across, down = along, along[:, None]
    grid = torch.stack([cosine * across - sine * down, sine * across + cosine * down], 3)
    colour = outside[:, :, None, None]
    turned = functional.grid_sample(x.float() - colour, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (turned + colour).to(x.dtype).contiguous(memory_format=torch.channels_last)
