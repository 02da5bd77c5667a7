"""From stored uint8 images to the network's input: window, mirror, colour noise, normalising, resizing, turning, cutout.

Runs on the device, after the loader, and so is the same for every loader. Draws are keyed by (seed, epoch, sample).
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
from distalex.data.augment.mixing import Mixing, cut_out
from distalex.data.augment.statistics import Statistics
from distalex.kernels import crops as windows
from distalex.kernels.available import has_triton
from distalex.kernels.crops import Windows, resize, resize_matrices, rotate

COLOUR_STD = 0.1  # Section 4.1
# The released 2012 code's: ImageNet's eigenvectors (columns) times the square roots of their eigenvalues, on 0..255.
IMAGENET_COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]) * [
    121.78,
    37.09,
    19.72,
]
TRIES = 10  # torchvision's RandomResizedCrop
LONGEST_SHAPE = 4 / 3


class Augmentation:
    """Turns a batch of stored images into the network's input, for training (keyed draws) or testing (fixed windows)."""

    def __init__(
        self,
        config: DataConfig,
        side: int,
        statistics: Statistics,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`side`: of the stored images in pixels; `dtype`: of the network's input."""
        photographs = config.of_folders
        self.options, self.seed, self.device, self.dtype = config, seed, device, dtype
        self.window = max(1, round(side * (config.crop or (0.875 if photographs else 1.0))))
        self.margin = round(side * ((0.0 if photographs else 0.125) if config.pad is None else config.pad))
        self.side, self.size = side, config.image_size
        self.resize = None if self.window == self.size else resize_matrices(self.window, self.size, device, dtype)
        self.components = IMAGENET_COMPONENTS if config.colour == "imagenet" else statistics.principal_components
        self.mixing = Mixing(config, seed) if config.mixup or config.cutmix else None
        mean, std = {
            "tutorial": (np.full(3, 127.5), np.full(3, 127.5)),
            "paper": (np.array(statistics.mean), np.ones(3)),
            "standard": (np.array(statistics.mean), statistics.std),
        }[config.normalize]
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device)
        self.scale = torch.tensor(1.0 / std, dtype=torch.float32, device=device)

    def train(self, images: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """`images` (n, side, side, 3) uint8 on the device, `samples` (n,) their numbers -> (n, 3, size, size), not yet mixed."""
        options = self.options
        shift = self.mean.expand(len(samples), 3)
        if options.augment == "paper":
            shift = shift - self._colour_noise(samples, epoch)
        x = self._draw_window(images, samples, epoch, shift)
        if options.rotate:
            angles = options.rotate * (2.0 * self._uniform("angle", samples, epoch) - 1.0)
            x = rotate(x, angles, -shift * self.scale)
        if options.cutout:
            x = cut_out(x, self.seed, samples, epoch, round(options.cutout * self.size))
        return x

    def test(self, images: Tensor) -> Tensor:
        """The centre window of every image: (n, side, side, 3) uint8 -> (n, 3, size, size)."""
        start = (self.side - self.window) // 2
        return self._fixed_window(images, start, start)

    def ten(self, images: Tensor) -> Iterator[Tensor]:
        """Ten views of every image, one after the other: four corners, the centre, and their mirror images (Section 4.1).

        The corners are the farthest that a random window gets: those of the image, or of the black margin around it.
        """
        first, last, centre = -self.margin, self.side + self.margin - self.window, (self.side - self.window) // 2
        for top, left in ((first, first), (first, last), (last, first), (last, last), (centre, centre)):
            for mirrored in (False, True):
                yield self._fixed_window(images, top, left, mirrored)

    def colours(self, x: Tensor) -> Tensor:
        """Views (n, 3, size, size) as a person sees them: (n, size, size, 3) uint8."""
        return (x.permute(0, 2, 3, 1).float() / self.scale + self.mean).round().clamp(0, 255).to(torch.uint8)

    def _uniform(self, purpose: str, samples: np.ndarray, epoch: int) -> np.ndarray:
        return random.uniform(random.key(self.seed, purpose, epoch), samples)

    def _colour_noise(self, samples: np.ndarray, epoch: int) -> Tensor:
        """(n, 3), on 0..255: a normal multiple of each principal component of the training set's colours."""
        multiples = [random.normal(random.key(self.seed, "colour", epoch, number), samples) for number in range(3)]
        noise = COLOUR_STD * np.stack(multiples, 1) @ self.components.T
        return torch.from_numpy(noise.astype(np.float32)).to(self.device, non_blocking=True)

    def _draw_window(self, images: Tensor, samples: np.ndarray, epoch: int, shift: Tensor) -> Tensor:
        """What `data.augment` sees of each image."""
        augment = self.options.augment
        mirrored = self._uniform("mirror", samples, epoch) < (0.0 if augment in ("none", "crop") else 0.5)
        if augment == "resized_crop":
            windows = draw_resized_crops(self.seed, samples, epoch, self.side, self.options.scale)
            x = self._kernels.resized_crops(images, windows, mirrored, self.size, shift, self.scale, self.dtype)
            return x.permute(0, 3, 1, 2)
        if augment == "none":
            top = left = np.full(len(samples), (self.side - self.window) // 2, dtype=np.int64)
        else:
            span = self.side + 2 * self.margin - self.window + 1
            top, left = ((self._uniform(way, samples, epoch) * span).astype(np.int64) - self.margin for way in ("top", "left"))
        return self._look(images, top, left, mirrored, shift)

    def _fixed_window(self, images: Tensor, top: int, left: int, mirrored: bool = False) -> Tensor:
        count = len(images)
        first_row, first_column = (np.full(count, start, dtype=np.int64) for start in (top, left))
        return self._look(images, first_row, first_column, np.full(count, mirrored), self.mean.expand(count, 3))

    def _look(self, images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, shift: Tensor) -> Tensor:
        x = self._kernels.normalised_windows(images, top, left, mirrored, self.window, shift, self.scale, self.dtype)
        x = x.permute(0, 3, 1, 2)  # which is channels-last
        return x if self.resize is None else resize(x, *self.resize)

    @property
    def _kernels(self) -> Any:
        """The module whose windows are the fastest on this device."""
        if self.device.type == "cpu":
            from distalex.kernels import crops_numba

            return crops_numba
        if has_triton(self.device):
            from distalex.kernels import crops_triton

            return crops_triton
        return windows


def draw_resized_crops(seed: int, samples: np.ndarray, epoch: int, side: int, scale: tuple[float, ...]) -> Windows:
    """Windows of images of `side` pixels, as torchvision's RandomResizedCrop draws them.

    An area, uniform in `scale` as a share of the image, and a shape, log-uniform in 3/4 to 4/3, are drawn up to ten times
    until the window fits, else it is the whole image; its place is uniform.
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
    return Windows(top, left, height, width)
