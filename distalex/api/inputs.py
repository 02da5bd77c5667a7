"""Images as people have them in Python, as a run stores them: PIL images, arrays, tensors, files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distalex.data.images import square
from distalex.errors import UserError
from distalex.predict.images import READ_AT_ONCE, StoredImages, files_named, read_files

TAKEN = "an image is a path, a PIL image, a uint8 array (height, width, 3) or a uint8 tensor (3, height, width)"


def stored_images(images: Any, side: int, resize: str) -> Iterator[StoredImages]:
    """Yield images in batches, as a run stores them.

    Args:
        images: one image or several: paths of files, folders and archives, patterns; PIL images; uint8 arrays (height, width) or
            (height, width, 1, 3 or 4), or batches with (images, …) before; uint8 tensors (3 or 1, height, width), or batches of them.
        side, resize: of the stored images; see `images.square`.

    Raises:
        UserError: something is no image, or ambiguous; names its place and the way out.
    """
    one_by_one = _all_of(images, side, resize)
    while batch := list(islice(one_by_one, READ_AT_ONCE)):
        yield StoredImages(torch.from_numpy(np.stack([pixels for pixels, _ in batch])), [name for _, name in batch], None)


def _all_of(images: Any, side: int, resize: str) -> Iterator[tuple[np.ndarray, str]]:
    """Each image (side, side, 3) uint8 with its name."""
    if isinstance(images, (bytes, Mapping)):
        raise UserError(f"{type(images).__name__} is not an image; {TAKEN}, or a list of these")
    single = isinstance(images, (str, os.PathLike, Image.Image, np.ndarray, Tensor)) or not isinstance(images, Iterable)
    for place, one in enumerate([images] if single else images):
        if isinstance(one, (str, os.PathLike)):
            word = os.path.expanduser(os.fspath(one))
            if not word:
                raise UserError(f"image {place}: an empty path; {TAKEN}")
            for found in read_files(files_named([f"./{word}" if word == "-" else word]), side, resize):
                yield from zip(found.pixels.numpy(), found.names, strict=True)
        else:
            opened = list(_opened(one, f"image {place}"))
            several = len(opened) > 1 or (single and getattr(one, "ndim", 0) == 4)
            for row, image in enumerate(opened):
                name = f"image {row if single else f'{place}, row {row}'}" if several else f"image {place}"
                yield _squared(image, side, resize, name), name


def _opened(image: Any, name: str) -> Iterator[Image.Image]:
    """The PIL images that a PIL image, an array or a tensor holds. Raises UserError."""
    if isinstance(image, Image.Image):
        yield image.copy()  # what follows may decode in place
    elif isinstance(image, np.ndarray):
        yield from _of_array(image, name)
    elif isinstance(image, Tensor):
        yield from _of_tensor(image, name)
    else:
        raise UserError(f"{name}: {type(image).__name__} is not an image; {TAKEN}")


def _of_array(array: np.ndarray, name: str) -> Iterator[Image.Image]:
    shape = tuple(array.shape)
    _require_bytes(array.dtype == np.uint8, f"{name}: array of {array.dtype}", "(255 * array).round().astype('uint8')")
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and shape[-1] not in (1, 3, 4)):
        channels_first = array.ndim in (3, 4) and shape[-3] in (1, 3, 4)
        way_out = (
            f"use array.transpose({'1, 2, 0' if array.ndim == 3 else '0, 2, 3, 1'})"
            if channels_first
            else "a batch is (images, height, width, 3)"
        )
        raise UserError(f"{name}: array of shape {shape}: arrays are (height, width), or (height, width, 1, 3 or 4); {way_out}")
    if array.ndim > 2 and shape[-3] in (1, 3) and shape[-1] == 3:
        raise UserError(f"{name}: array of shape {shape}: channels may come first or last; pass a PIL image: Image.fromarray(array)")
    for pixels in array if array.ndim == 4 else [array]:
        yield _from_pixels(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels, name)


def _of_tensor(tensor: Tensor, name: str) -> Iterator[Image.Image]:
    shape = tuple(tensor.shape)
    kind = str(tensor.dtype).removeprefix("torch.")
    _require_bytes(tensor.dtype == torch.uint8, f"{name}: tensor of {kind}", "(255 * tensor).round().to(torch.uint8)")
    if tensor.ndim not in (3, 4) or shape[-3] not in (1, 3):
        way_out = (
            f"use tensor.permute({'2, 0, 1' if tensor.ndim == 3 else '0, 3, 1, 2'})"
            if tensor.ndim in (3, 4) and shape[-1] == 3
            else "a batch is (images, 3, height, width)"
        )
        raise UserError(f"{name}: tensor of shape {shape}: tensors are (3 or 1, height, width); {way_out}")
    if shape[-3] == 3 and shape[-1] == 3:
        raise UserError(f"{name}: tensor of shape {shape}: channels may come first or last; pass a PIL image")
    for pixels in tensor.detach().cpu() if tensor.ndim == 4 else [tensor.detach().cpu()]:
        yield _from_pixels((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy(), name)


def _from_pixels(pixels: np.ndarray, name: str) -> Image.Image:
    if 0 in pixels.shape:
        raise UserError(f"{name}: {pixels.shape[1]}x{pixels.shape[0]} pixels: an image has at least one")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _require_bytes(are_bytes: bool, what: str, conversion: str) -> None:
    if not are_bytes:
        raise UserError(
            f"{what}: uint8 from 0 to 255 is needed; of fractions from 0 to 1 make it with {conversion}, "
            "and pass what is normalised already to the network itself, net.net(batch)"
        )


def _squared(image: Image.Image, side: int, resize: str, name: str) -> np.ndarray:
    if 0 in image.size:
        raise UserError(f"{name}: {image.width}x{image.height} pixels: an image has at least one")
    try:
        return square(image, side, resize)
    except OSError as error:
        raise UserError(f"{name}: not a readable image ({error.strerror or error})") from None
