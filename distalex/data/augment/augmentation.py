"""From stored uint8 images to the network's input: policies, crop, mirror, colour noise, normalising, resizing, rotation, erasing, mixing.

Runs on the device and so is the same for every loader. Random draws are keyed by (seed, epoch, sample).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distalex import random
from distalex.config.data import DataConfig
from distalex.data.augment.mixing import Mixing, cut_out, erase
from distalex.data.augment.policies import Policies
from distalex.data.augment.statistics import Statistics
from distalex.kernels import crops
from distalex.kernels.available import has_triton
from distalex.kernels.crops import Crops, resize, resize_matrices, rotate

COLOUR_STD = 0.1
"""Standard deviation of the colour noise along each principal component, in its own (Section 4.1)."""
IMAGENET_COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]) * [
    121.78,
    37.09,
    19.72,
]
"""Principal components of ImageNet's colours in the 2012 code, on 0..255: eigenvectors (columns) times roots of eigenvalues."""
IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's red, green and blue on 0..1, as torchvision's weights expect them."""
TRIES = 10
"""Draws of a random resized crop until it fits, as in torchvision's RandomResizedCrop."""
LONGEST_SHAPE = 4 / 3
"""Largest ratio of the sides of a random resized crop."""


class Augmentation:
    """Makes the network's input from stored images: random crops for training, fixed crops for testing."""

    def __init__(
        self,
        config: DataConfig,
        side: int,
        statistics: Statistics,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`side`: of the stored images, in pixels; `statistics`: of the training set; `dtype`: of the network's input."""
        photographs = config.of_photographs
        self.config, self.seed, self.device, self.dtype = config, seed, device, dtype
        self.crop_side = max(1, round(side * (config.crop or (0.875 if photographs else 1.0))))
        self.margin = round(side * ((0.0 if photographs else 0.125) if config.pad is None else config.pad))
        self.side, self.size = side, config.image_size
        self.resize = None if self.crop_side == self.size else resize_matrices(self.crop_side, self.size, device, dtype)
        self.components = IMAGENET_COMPONENTS if config.colour == "imagenet" else statistics.principal_components
        self.mixing = Mixing(config, seed) if config.mixup or config.cutmix else None
        self.policies = Policies(config, side, seed)
        mean, std = {
            "tutorial": (np.full(3, 127.5), np.full(3, 127.5)),
            "paper": (np.array(statistics.mean), np.ones(3)),
            "standard": (np.array(statistics.mean), statistics.std),
            "imagenet": (255 * IMAGENET_MEAN, 255 * IMAGENET_STD),
        }[config.normalize]
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device)
        self.scale = torch.tensor(1.0 / std, dtype=torch.float32, device=device)

    def train(self, images: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """Random crops (n, 3, size, size) of `images` (n, side, side, 3) uint8, not mixed; `samples` (n,) are their numbers."""
        config = self.config
        shift = self.mean.expand(len(samples), 3)
        if config.augment == "paper":
            shift = shift - self._colour_noise(samples, epoch)
        if self.policies and len(samples):
            images = self.policies.apply(images, samples, epoch)
        x = self._random_crop(images, samples, epoch, shift)
        if config.rotate:
            angles = config.rotate * (2.0 * self._uniform("angle", samples, epoch) - 1.0)
            x = rotate(x, angles, -shift * self.scale)
        if config.cutout:
            x = cut_out(x, self.seed, samples, epoch, round(config.cutout * self.size))
        if config.erase:
            x = erase(x, self.seed, samples, epoch, config.erase)
        return x

    def train_mixed(self, pairs: Tensor, samples: np.ndarray, partners: np.ndarray, epoch: int) -> Tensor:
        """Random crops of samples, each mixed with that of its partner: `pairs` (n, 2, side, side, 3) uint8 -> (n, 3, size, size)."""
        assert self.mixing is not None
        both = np.stack([samples, partners], 1)
        crops = self.train(pairs.flatten(0, 1), both.reshape(-1), epoch).unflatten(0, both.shape)
        return self.mixing.mix(crops[:, 0], crops[:, 1], samples, epoch)

    def test(self, images: Tensor) -> Tensor:
        """The centre crop (n, 3, size, size) of each of `images` (n, side, side, 3) uint8."""
        start = (self.side - self.crop_side) // 2
        return self._fixed_crop(images, start, start)

    def ten_crops(self, images: Tensor) -> Iterator[Tensor]:
        """The paper's ten crops (n, 3, size, size) of every image, one by one: corners, centre, and their mirror images (Section 4.1).

        The corners are those of the image, or of the black margin of `data.pad` around it.
        """
        first, last, centre = -self.margin, self.side + self.margin - self.crop_side, (self.side - self.crop_side) // 2
        for top, left in ((first, first), (first, last), (last, first), (last, last), (centre, centre)):
            for mirrored in (False, True):
                yield self._fixed_crop(images, top, left, mirrored)

    def colours(self, x: Tensor) -> Tensor:
        """Undo the normalising of crops (n, 3, size, size), for drawing: (n, size, size, 3) uint8."""
        return (x.permute(0, 2, 3, 1).float() / self.scale + self.mean).round().clamp(0, 255).to(torch.uint8)

    def _uniform(self, purpose: str, samples: np.ndarray, epoch: int) -> np.ndarray:
        return random.uniform(random.key(self.seed, purpose, epoch), samples)

    def _colour_noise(self, samples: np.ndarray, epoch: int) -> Tensor:
        """(n, 3), on 0..255: the sum of the principal components of the colours, each times a normal draw (Section 4.1)."""
        multiples = [random.normal(random.key(self.seed, "colour", epoch, number), samples) for number in range(3)]
        noise = COLOUR_STD * np.stack(multiples, 1) @ self.components.T
        return torch.from_numpy(noise.astype(np.float32)).to(self.device, non_blocking=True)

    def _random_crop(self, images: Tensor, samples: np.ndarray, epoch: int, shift: Tensor) -> Tensor:
        """The crop that `data.augment` draws of each image, normalised with `shift` (n, 3)."""
        augment = self.config.augment
        mirrored = self._uniform("mirror", samples, epoch) < (0.0 if augment in ("none", "crop") else 0.5)
        if augment == "resized_crop":
            drawn = draw_resized_crops(self.seed, samples, epoch, self.side, self.config.scale)
            x = self._kernels.resized_crops(images, drawn, mirrored, self.size, shift, self.scale, self.dtype)
            return x.permute(0, 3, 1, 2)
        if augment == "none":
            top = left = np.full(len(samples), (self.side - self.crop_side) // 2, dtype=np.int64)
        else:
            span = self.side + 2 * self.margin - self.crop_side + 1
            top, left = ((self._uniform(way, samples, epoch) * span).astype(np.int64) - self.margin for way in ("top", "left"))
        return self._crop(images, top, left, mirrored, shift)

    def _fixed_crop(self, images: Tensor, top: int, left: int, mirrored: bool = False) -> Tensor:
        count = len(images)
        first_row, first_column = (np.full(count, start, dtype=np.int64) for start in (top, left))
        return self._crop(images, first_row, first_column, np.full(count, mirrored), self.mean.expand(count, 3))

    def _crop(self, images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, shift: Tensor) -> Tensor:
        x = self._kernels.normalised_crops(images, top, left, mirrored, self.crop_side, shift, self.scale, self.dtype)
        x = x.permute(0, 3, 1, 2)  # and so channels-last in memory
        return x if self.resize is None else resize(x, *self.resize)

    @property
    def _kernels(self) -> Any:
        """The module with the fastest crops for this device."""
        if self.device.type == "cpu":
            from distalex.kernels import crops_numba

            return crops_numba
        if has_triton(self.device):
            from distalex.kernels import crops_triton

            return crops_triton
        return crops


def draw_resized_crops(seed: int, samples: np.ndarray, epoch: int, side: int, scale: tuple[float, ...]) -> Crops:
    """Random crops of images of `side` pixels, as torchvision's RandomResizedCrop draws them (Szegedy et al. 2015).

    An area, uniform in `scale` as a share of the image, and a shape, log-uniform in 3/4 to 4/3, are drawn up to ten times
    until the crop fits, else it is the whole image; its place is uniform.
    """

    def draw(purpose: str, *attempt: int) -> np.ndarray:
        return random.uniform(random.key(seed, purpose, epoch, *attempt), samples)

    height, width = (np.full(len(samples), side, dtype=np.int64) for _ in range(2))
    missing = np.ones(len(samples), dtype=np.bool_)
    for attempt in range(TRIES):
        area = side**2 * (scale[0] + (scale[1] - scale[0]) * draw("area", attempt))
        shape = np.exp(math.log(LONGEST_SHAPE) * (2.0 * draw("shape", attempt) - 1.0))
        across, down = (np.rint(np.sqrt(pixels)).astype(np.int64) for pixels in (area * shape, area / shape))
        fits = missing & (across > 0) & (across <= side) & (down > 0) & (down <= side)
        height[fits], width[fits] = down[fits], across[fits]
        missing &= ~fits
    top, left = ((draw(way) * (side - length + 1)).astype(np.int64) for way, length in (("top", height), ("left", width)))
    return Crops(top, left, height, width)
