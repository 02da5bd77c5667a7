"""Dropout with keyed masks, which are the same on every mesh."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalex import random
from distalex.kernels.available import has_triton, is_traced


class KeyedDropout(nn.Module):
    """Dropout with masks keyed by (seed, step, layer, image, unit), which are the same on every mesh.

    `Network.key_masks` sets the seed, the step and the first image before each forward pass.

    Args:
        probability: share of units that are zeroed; rounded to a multiple of 1/65536, exact for multiples of 1/256.
        layer: name that keys the masks.
        follows: name of the fully connected layer that computes its input, where processes may divide that layer's units.
    """

    draw: Tensor

    def __init__(self, probability: float, layer: str, follows: str | None = None) -> None:
        super().__init__()
        self.probability, self.layer, self.follows = probability, layer, follows
        self.first_unit = 0  # number of the unit in the first column of `x`; not 0 where processes divide the units
        self.register_buffer("draw", torch.zeros(3, dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Zero some of `x` (images, units) and scale the rest up; in evaluation return `x`."""
        if not self.training or self.probability == 0:
            return x
        images, units = x.shape
        return x * self.mask(self.draw, images, units, self.first_unit, x)

    def mask(self, draw: Tensor, images: int, units: int, first_unit: int, like: Tensor) -> Tensor:
        """Return a mask (images, units) in the dtype of `like`: 0 for a dropped unit, else what scales the rest up.

        `draw` holds the key's two words and the number of the first row.
        """
        exact = (self.probability * 2**8).is_integer()
        size, kind = (8, torch.int8) if exact else (16, torch.int16)  # random bits for each unit
        below = min(round(self.probability * 2**size), 2**size - 1) - 2 ** (size - 1)
        kept = 1.0 / (1.0 - self.probability)
        if like.dtype in (torch.float32, torch.bfloat16) and not is_traced() and has_triton(like.device):
            from distalex.kernels.dropout_triton import keyed_mask

            return keyed_mask(draw, images, units, first_unit, size, below, kept, like.dtype)
        rows = torch.arange(images, device=like.device, dtype=torch.int32) + draw[2]
        first_word, skipped = divmod(first_unit, 32 // size)
        words = torch.arange(first_word, first_word - (-(skipped + units) * size // 32), device=like.device, dtype=torch.int32)
        drawn = random.torch_grid(draw, rows, words).view(kind)[:, skipped : skipped + units]
        return (drawn >= below).to(like.dtype).mul_(kept)

    def extra_repr(self) -> str:
        """Return the probability, as `print(net)` shows it."""
        return f"probability={self.probability}"
