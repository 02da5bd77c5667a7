"""Cutout, random erasing, mixup and CutMix, on finished crops.

Draws are keyed by (seed, epoch, sample). The partner that a sample is mixed with is drawn from the whole training set, not from
its batch, so that the process that reads a sample reads its partner, and mixing needs no communication.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex import random
from distalex.config.data import DataConfig


class Boxes(NamedTuple):
    """One rectangle of each crop: rows from `top` to before `bottom`, columns from `left` to before `right`; each (n,) int64."""

    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def inside(self, size: int, device: torch.device) -> Tensor:
        """(n, 1, size, size) bool: the pixels of crops of `size` that lie in their boxes."""
        edges = torch.from_numpy(np.stack(self)).to(device, non_blocking=True)
        along = torch.arange(size, device=device)
        down, across = ((low[:, None] <= along) & (along < high[:, None]) for low, high in (edges[:2], edges[2:]))
        return (down[:, :, None] & across[:, None, :])[:, None]

    def areas(self) -> np.ndarray:
        """(n,) int64, in pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def draw_boxes(seed: int, purpose: str, samples: np.ndarray, epoch: int, sides: np.ndarray | int, size: int) -> Boxes:
    """Squares of `sides` pixels about a keyed pixel of a crop of `size` pixels, clipped at its edge."""
    edges = []
    for way in ("row", "column"):
        middle = (random.uniform(random.key(seed, f"{purpose} {way}", epoch), samples) * size).astype(np.int64)
        first = middle - sides // 2
        edges += [first.clip(0, size), (first + sides).clip(0, size)]
    return Boxes(*edges)


def cut_out(x: Tensor, seed: int, samples: np.ndarray, epoch: int, side: int) -> Tensor:
    """Set a keyed square of `side` pixels of each crop (n, 3, size, size) to zero, the mean colour, in place.

    The centre of the square is anywhere, so that some of it may lie outside (DeVries & Taylor 2017).
    """
    size = x.shape[-1]
    return x.masked_fill_(draw_boxes(seed, "cutout", samples, epoch, side, size).inside(size, x.device), 0.0)


TRIES = 10
"""Draws of a rectangle to erase until it fits, as in torchvision's RandomErasing."""


def draw_erased(seed: int, samples: np.ndarray, epoch: int, size: int, probability: float) -> Boxes:
    """Rectangles to erase from crops of `size` pixels, as torchvision's RandomErasing draws them; empty where nothing is erased.

    An area, uniform in 0.02 to 0.33 of the crop's, and a shape, log-uniform in 0.3 to 3.3, are drawn up to ten times until they fit.
    """

    def draw(purpose: str, *attempt: int) -> np.ndarray:
        return random.uniform(random.key(seed, f"erase {purpose}", epoch, *attempt), samples)

    height, width = (np.zeros(len(samples), dtype=np.int64) for _ in range(2))
    missing = draw("coin") < probability
    for attempt in range(TRIES):
        area = size**2 * (0.02 + 0.31 * draw("area", attempt))
        shape = np.exp(np.log(0.3) + np.log(3.3 / 0.3) * draw("shape", attempt))
        down, across = (np.rint(np.sqrt(pixels)).astype(np.int64) for pixels in (area * shape, area / shape))
        fits = missing & (down < size) & (across < size)
        height[fits], width[fits] = down[fits], across[fits]
        missing &= ~fits
    top, left = ((draw(way) * (size - length + 1)).astype(np.int64) for way, length in (("top", height), ("left", width)))
    return Boxes(top, top + height, left, left + width)


def erase(x: Tensor, seed: int, samples: np.ndarray, epoch: int, probability: float) -> Tensor:
    """Set a keyed rectangle of some crops (n, 3, size, size) to zero, the mean colour, in place (Zhong et al. 2020)."""
    size = x.shape[-1]
    return x.masked_fill_(draw_erased(seed, samples, epoch, size, probability).inside(size, x.device), 0.0)


class Mixing:
    """mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of crops; where both are on, each sample draws one of the two."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.seed, self.size = seed, config.image_size
        self.mixup, self.cutmix = config.mixup, config.cutmix

    def partners(self, samples: np.ndarray, epoch: int, count: int) -> np.ndarray:
        """(n,): the sample that each of `samples` is mixed with, any other of the `count` of the training set."""
        step = self._uniform("partner", samples, epoch) * (count - 1)
        return (samples + 1 + step.astype(np.int64)) % count

    def shares(self, samples: np.ndarray, epoch: int) -> np.ndarray:
        """(n,) float32: the share of each sample, and of its label, in its mixed crop."""
        levels, boxes = self._draw(samples, epoch)
        return (levels * (1.0 - boxes.areas() / self.size**2)).astype(np.float32)

    def mix(self, own: Tensor, other: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """The crops `own` of `samples` mixed with `other`, those of their partners; all (n, 3, size, size)."""
        levels, boxes = self._draw(samples, epoch)
        level = torch.from_numpy(levels).to(own.device, own.dtype, non_blocking=True)[:, None, None, None]
        weight = torch.where(boxes.inside(self.size, own.device), 0.0, level)
        return torch.lerp(other, own, weight).contiguous(memory_format=torch.channels_last)

    def _draw(self, samples: np.ndarray, epoch: int) -> tuple[np.ndarray, Boxes]:
        """The weight (n,) float32 of the own crop outside of the partner's box, and the box, which is empty for mixup."""
        from scipy.special import betaincinv

        cuts = self._uniform("mixing", samples, epoch) < (0.5 if self.mixup and self.cutmix else float(self.cutmix > 0))
        alpha = np.where(cuts, self.cutmix, self.mixup)
        shares = betaincinv(alpha, alpha, self._uniform("share", samples, epoch))
        sides = np.where(cuts, self.size * np.sqrt(1.0 - shares), 0.0).astype(np.int64)
        return np.where(cuts, 1.0, shares).astype(np.float32), draw_boxes(self.seed, "cutmix", samples, epoch, sides, self.size)

    def _uniform(self, purpose: str, samples: np.ndarray, epoch: int) -> np.ndarray:
        return random.uniform(random.key(self.seed, purpose, epoch), samples)
