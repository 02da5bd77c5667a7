"""From stored uint8 pictures to the network's input: window, mirror, colour noise, normalising, resizing.

Runs on the device, after the loader, and so is the same for every loader. Draws are keyed by (seed, epoch, sample).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distalex import config, random

COLOUR_STD = 0.1  # Section 4.1


@dataclass(frozen=True)
class Statistics:
    """Colours of a training set, on 0..255."""

    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    """3x3, of the pixels' red, green and blue."""

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(np.diag(np.array(self.covariance)), 1.0))

    @property
    def principal_components(self) -> np.ndarray:
        """3x3: each column an eigenvector times the square root of its eigenvalue (as the 2012 code scales the noise)."""
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        return vectors * np.sqrt(np.maximum(values, 0.0))


class Views:
    """Turns a batch of stored pictures into the network's input, for training (keyed noise) or testing (centre)."""

    def __init__(
        self,
        options: config.Data,
        side: int,
        statistics: Statistics,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`side`: of the stored pictures in pixels; `dtype`: of the network's input."""
        photographs = options.of_folders
        self.seed, self.device, self.dtype = seed, device, dtype
        self.window = max(1, round(side * (options.crop or (0.875 if photographs else 1.0))))
        self.margin = round(side * ((0.0 if photographs else 0.125) if options.pad is None else options.pad))
        self.side, self.augment = side, options.augment
        wanted = options.image_size
        self.resize = None if self.window == wanted else resize_matrices(self.window, wanted, device, dtype)
        self.components = statistics.principal_components
        mean, std = {
            "tutorial": (np.full(3, 127.5), np.full(3, 127.5)),
            "paper": (np.array(statistics.mean), np.ones(3)),
            "standard": (np.array(statistics.mean), statistics.std),
        }[options.normalize]
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device)
        self.scale = torch.tensor(1.0 / std, dtype=torch.float32, device=device)

    def train(self, images: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """`images` (n, side, side, 3) uint8 on the device, `samples` (n,) their numbers -> (n, 3, size, size)."""
        if self.augment == "none":
            return self.test(images)
        span = self.side + 2 * self.margin - self.window + 1
        top, left = (
            (random.uniform(random.key(self.seed, purpose, epoch), samples) * span).astype(np.int64) - self.margin
            for purpose in ("top", "left")
        )
        mirrored = random.uniform(random.key(self.seed, "mirror", epoch), samples) < (0.0 if self.augment == "crop" else 0.5)
        shift = self.mean.expand(len(samples), 3)
        if self.augment == "paper":
            shift = shift - self._colour_noise(samples, epoch)
        return self._look(images, top, left, mirrored, shift)

    def test(self, images: Tensor) -> Tensor:
        """The centre window of every picture: (n, side, side, 3) uint8 -> (n, 3, size, size)."""
        start = np.full(len(images), (self.side - self.window) // 2, dtype=np.int64)
        return self._look(images, start, start, np.zeros(len(images), dtype=np.bool_), self.mean.expand(len(images), 3))

    def _colour_noise(self, samples: np.ndarray, epoch: int) -> Tensor:
        """(n, 3), on 0..255: a normal multiple of each principal component of the training set's colours."""
        multiples = [random.normal(random.key(self.seed, "colour", epoch, number), samples) for number in range(3)]
        noise = COLOUR_STD * np.stack(multiples, 1) @ self.components.T
        return torch.from_numpy(noise.astype(np.float32)).to(self.device, non_blocking=True)

    def _look(self, images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, shift: Tensor) -> Tensor:
        if self.device.type == "cpu":
            from distalex.augment_cpu import normalised_windows
        else:
            normalised_windows = normalised_windows_of
        x = normalised_windows(images, top, left, mirrored, self.window, shift, self.scale, self.dtype)
        x = x.permute(0, 3, 1, 2)  # which is channels-last
        return x if self.resize is None else resize(x, *self.resize)


def resize_matrices(side: int, wanted: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What `resize` multiplies rows (wanted, side) and columns with their colours (3 side, 3 wanted) by."""
    pixels = torch.eye(side)[None, None]
    along = functional.interpolate(pixels, size=(wanted, side), mode="bilinear", antialias=wanted < side)[0, 0]
    rows, columns = along, torch.kron(along.T.contiguous(), torch.eye(3))
    return rows.to(device, dtype), columns.to(device, dtype)


def resize(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear resizing of channels-last squares (n, 3, side, side), anti-aliased where they shrink.

    Two matrix products, which take a tenth of the time of torch's interpolation of three channels on a CPU.
    """
    n, _, side, _ = x.shape
    wanted = len(rows)
    stretched = torch.matmul(rows, x.permute(0, 2, 3, 1).reshape(n, side, side * 3))
    return (stretched.view(n * wanted, side * 3) @ columns).view(n, wanted, wanted, 3).permute(0, 3, 1, 2)


def normalised_windows_of(
    images: Tensor, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray, side: int, shift: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """What `augment_cpu.normalised_windows` does, on any device by indexing."""
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
