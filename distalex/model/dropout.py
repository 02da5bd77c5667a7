"""Dropout whose masks are keyed, so that they do not depend on the mesh."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalex import random


class KeyedDropout(nn.Module):
    """Dropout whose mask is keyed by (seed, step, layer, image, unit), so that it does not depend on the mesh.

    The probability is held to 1/65536, or exactly if it is a multiple of 1/256. The network's `key_masks` names the step
    before each forward pass.
    """

    draw: Tensor

    def __init__(self, probability: float, layer: str) -> None:
        super().__init__()
        self.probability, self.layer = probability, layer
        self.first_unit = 0  # of the layer's units, the one that is the first column of `x`
        self.register_buffer("draw", torch.zeros(3, dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (images, units), some units zeroed and the rest scaled up; `x` itself in evaluation."""
        if not self.training or self.probability == 0:
            return x
        images, units = x.shape
        exact = (self.probability * 2**8).is_integer()
        size, kind = (8, torch.int8) if exact else (16, torch.int16)  # bits that decide a unit
        rows = torch.arange(images, device=x.device, dtype=torch.int32) + self.draw[2]
        first_word, skipped = divmod(self.first_unit, 32 // size)
        words = torch.arange(first_word, first_word - (-(skipped + units) * size // 32), device=x.device, dtype=torch.int32)
        drawn = random.torch_grid(self.draw, rows, words).view(kind)[:, skipped : skipped + units]
        keep = drawn >= round(self.probability * 2**size) - 2 ** (size - 1)
        return x * keep.to(x.dtype).mul_(1.0 / (1.0 - self.probability))

    def extra_repr(self) -> str:
        return f"probability={self.probability}"
