"""TrivialAugment, RandAugment, colour jitter and vertical flips of stored images, before the crop.

Draws are keyed by (seed, epoch, sample); operations, magnitudes and their distributions are torchvision's. A batch is divided by
operation, so that it takes few calls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from distalex import random
from distalex.config.data import DataConfig
from distalex.kernels import operations

Operation = Callable[[Tensor, Tensor], Tensor]
"""Takes images (n, 3, side, side) uint8 and their magnitudes (n,) fp32."""
BINS = 31
"""Levels of magnitude, from none, 0, to the strongest, 30."""
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BLENDED = ("brightness", "saturation", "contrast", "sharpness")
CHOICES = ("identity", *GEOMETRIC, *BLENDED, "posterize", "solarize", "autocontrast", "equalize")
"""Operations of both policies, equally likely."""


def strongest(policy: str, side: int) -> dict[str, float]:
    """Return the strongest magnitude of each operation that has one, for stored images of `side` pixels.

    `trivial_augment` is torchvision's TrivialAugmentWide (Müller & Hutter 2021), `randaugment` its RandAugment (Cubuk et al. 2020).
    """
    if policy == "trivial_augment":
        geometric, blend, bits = (0.99, 0.99, 32.0, 32.0, 135.0), 0.99, 6.0
    else:
        geometric, blend, bits = (0.3, 0.3, 150 / 331 * side, 150 / 331 * side, 30.0), 0.9, 4.0
    return dict(zip(GEOMETRIC, geometric, strict=True)) | dict.fromkeys(BLENDED, blend) | {"posterize": bits, "solarize": 255.0}


class Policies:
    """What `data.trivial_augment`, `randaugment`, `jitter` and `vertical_flip` do to stored images."""

    def __init__(self, config: DataConfig, side: int, seed: int) -> None:
        """`side`: of the stored images, in pixels."""
        self.config, self.seed = config, seed
        self.policy = "trivial_augment" if config.trivial_augment else "randaugment"
        self.rounds = 1 if config.trivial_augment else config.randaugment[0] if config.randaugment else 0
        self.strongest = strongest(self.policy, side)
        self.jitter = dict(zip(("brightness", "contrast", "saturation", "hue"), config.jitter, strict=False))

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.rounds or any(self.jitter.values()) or self.config.vertical_flip)

    def apply(self, images: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """Stored images (n, side, side, 3) uint8 of `samples` (n,), changed; the given ones stay as they are."""
        x = images.permute(0, 3, 1, 2)
        for number in range(self.rounds):
            x = apply_by_operation(x, *self.draw_policy(samples, epoch, number))
        if any(self.jitter.values()):
            for names, magnitudes in self.draw_jitter(samples, epoch):
                x = apply_by_operation(x, names, magnitudes)
        changed = x.permute(0, 2, 3, 1)
        if not self.config.vertical_flip:
            return changed
        flipped = np.flatnonzero(self._uniform("vertical flip", samples, epoch) < 0.5)
        rows, out = torch.from_numpy(flipped).to(images.device, non_blocking=True), changed.clone()
        out[rows] = changed[rows].flip(1)
        return out

    def draw_policy(self, samples: np.ndarray, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The operation (n,) of each sample in round `number`, by name, and its magnitude (n,) as the operation takes it."""
        names = np.array(CHOICES)[(self._uniform("operation", samples, epoch, number) * len(CHOICES)).astype(np.int64)]
        if self.policy == "trivial_augment":
            levels = (self._uniform("level", samples, epoch, number) * BINS).astype(np.int64)
        else:
            levels = np.full(len(samples), self.config.randaugment[1])
        sizes = np.array([self.strongest.get(name, 0.0) for name in names]) * levels / (BINS - 1)
        signs = np.where(self._uniform("sign", samples, epoch, number) < 0.5, -1.0, 1.0)
        is_rounded = names == "posterize"
        magnitudes = np.where(np.isin(names, GEOMETRIC), signs * sizes, 1.0 + signs * sizes)
        magnitudes = np.where(is_rounded, 8.0 - np.rint(np.where(is_rounded, sizes, 0.0)), magnitudes)
        return names, np.where(names == "solarize", 255.0 - sizes, magnitudes)

    def draw_jitter(self, samples: np.ndarray, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each of four turns the operation (n,) of each sample and its magnitude (n,), as torchvision's ColorJitter draws them.

        Each sample has the operations in an order of its own; factors are uniform between 1 - the option's and 1 + it, hue about 0.
        """
        names = tuple(self.jitter)
        factors = np.empty((len(names), len(samples)))
        for row, (name, reach) in enumerate(self.jitter.items()):
            centre, least = (0.0, -reach) if name == "hue" else (1.0, max(0.0, 1.0 - reach))
            factors[row] = least + (centre + reach - least) * self._uniform(f"jitter {name}", samples, epoch)
        order = np.argsort([self._uniform("jitter order", samples, epoch, row) for row in range(len(names))], axis=0, kind="stable")
        wanted = np.array([name if reach else "identity" for name, reach in self.jitter.items()])
        return [(wanted[turn], np.take_along_axis(factors, turn[None], 0)[0]) for turn in order]

    def _uniform(self, purpose: str, samples: np.ndarray, epoch: int, *numbers: int) -> np.ndarray:
        return random.uniform(random.key(self.seed, purpose, epoch, *numbers), samples)


def apply_by_operation(images: Tensor, names: np.ndarray, magnitudes: np.ndarray) -> Tensor:
    """Apply to each of `images` (n, 3, side, side) uint8 the operation of its name (n,), with its magnitude (n,)."""
    out = images.clone()
    for name in sorted(set(names.tolist()) - {"identity"}):
        rows = np.flatnonzero(names == name)
        places, strengths = (
            torch.from_numpy(values).to(images.device, non_blocking=True) for values in (rows, magnitudes[rows].astype(np.float32))
        )
        operation: Operation = getattr(operations, name)
        out[places] = operation(images[places], strengths)
    return out
