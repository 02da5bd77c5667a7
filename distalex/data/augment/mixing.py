"""What is done to finished views: a square cut out of each, and views of two samples mixed.

Draws are keyed by (seed, epoch, sample). Whom a sample is mixed with is keyed too and any sample of the training set, not one
of its batch, so the process that reads a sample reads its partner, and mixing needs no word between processes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex import random
from distalex.config.data import DataConfig


class Boxes(NamedTuple):
    """One rectangle of each view: rows from `top` to before `bottom`, columns from `left` to before `right`; (n,) int64."""

    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def inside(self, size: int, device: torch.device) -> Tensor:
        """(n, 1, size, size) bool: the pixels of a view of `size` that lie in its box."""
        edges = torch.from_numpy(np.stack(self)).to(device, non_blocking=True)
        along = torch.arange(size, device=device)
        down, across = ((low[:, None] <= along) & (along < high[:, None]) for low, high in (edges[:2], edges[2:]))
        return (down[:, :, None] & across[:, None, :])[:, None]

    def areas(self) -> np.ndarray:
        """(n,) int64, in pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def draw_boxes(seed: int, purpose: str, samples: np.ndarray, epoch: int, sides: np.ndarray | int, size: int) -> Boxes:
    """Squares of `sides` pixels about a keyed pixel of a view of `size`, cut off at its edge."""
    edges = []
    for way in ("row", "column"):
        middle = (random.uniform(random.key(seed, f"{purpose} {way}", epoch), samples) * size).astype(np.int64)
        first = middle - sides // 2
        edges += [first.clip(0, size), (first + sides).clip(0, size)]
    return Boxes(*edges)


def cut_out(x: Tensor, seed: int, samples: np.ndarray, epoch: int, side: int) -> Tensor:
    """Zero, which is the mean colour, in a keyed square of `side` pixels of each view (n, 3, size, size), in place.

    DeVries & Taylor 2017: the square's centre is anywhere, so a part of it may lie outside.
    """
    size = x.shape[-1]
    return x.masked_fill_(draw_boxes(seed, "cutout", samples, epoch, side, size).inside(size, x.device), 0.0)


class Mixing:
    """mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of views of `size` pixels; where both are on, a coin a sample."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.seed, self.size = seed, config.image_size
        self.mixup, self.cutmix = config.mixup, config.cutmix

    def partners(self, samples: np.ndarray, epoch: int, count: int) -> np.ndarray:
        """Whom each of `samples` is mixed with: any other of the `count` of the training set."""
        step = self._uniform("partner", samples, epoch) * (count - 1)
        return (samples + 1 + step.astype(np.int64)) % count

    def shares(self, samples: np.ndarray, epoch: int) -> np.ndarray:
        """(n,) float32: what of a mixed view, and so of its label, is the sample's own."""
        levels, boxes = self._draw(samples, epoch)
        return (levels * (1.0 - boxes.areas() / self.size**2)).astype(np.float32)

    def mix(self, own: Tensor, other: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """The views of `samples` mixed with `other`, those of their partners: all (n, 3, size, size)."""
        levels, boxes = self._draw(samples, epoch)
        level = torch.from_numpy(levels).to(own.device, own.dtype, non_blocking=True)[:, None, None, None]
        weight = torch.where(boxes.inside(self.size, own.device), 0.0, level)
        return torch.lerp(other, own, weight).contiguous(memory_format=torch.channels_last)

    def _draw(self, samples: np.ndarray, epoch: int) -> tuple[np.ndarray, Boxes]:
        """The own view's weight (n,) float32 outside of the partner's box, and the box, which mixup leaves empty."""
        from scipy.special import betaincinv

        cuts = self._uniform("mixing", samples, epoch) < (0.5 if self.mixup and self.cutmix else float(self.cutmix > 0))
        alpha = np.where(cuts, self.cutmix, self.mixup)
        shares = betaincinv(alpha, alpha, self._uniform("share", samples, epoch))
        sides = np.where(cuts, self.size * np.sqrt(1.0 - shares), 0.0).astype(np.int64)
        return np.where(cuts, 1.0, shares).astype(np.float32), draw_boxes(self.seed, "cutmix", samples, epoch, sides, self.size)

    def _uniform(self, purpose: str, samples: np.ndarray, epoch: int) -> np.ndarray:
        return random.uniform(random.key(self.seed, purpose, epoch), samples)
