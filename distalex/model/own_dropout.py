"""Keyed dropout in place of the dropout layers of PyTorch and torchvision, for networks of one's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalex import random
from distalex.model.dropout import KeyedDropout

KINDS = {
    "Dropout": "units",
    "Dropout1d": "channels",
    "Dropout2d": "channels",
    "Dropout3d": "channels",
    "AlphaDropout": "units",
    "FeatureAlphaDropout": "channels",
    "StochasticDepth": "images",
}
"""What a layer drops, by the name of its class."""
ALPHA = 1.7580993408473766  # what alpha dropout puts in place of a unit, negated (Klambauer et al. 2017)
ANOTHER_USE = 0x9E3779B1  # an odd number, which gives every use of a layer in one forward pass other words


class DropoutOfAnyShape(KeyedDropout):
    """Keyed dropout of single units, of channels or of whole images, for inputs (images, channels, …).

    Args:
        layer: the layer whose place it takes.
        name: name that keys the masks.
    """

    def __init__(self, layer: nn.Module, name: str) -> None:
        super().__init__(float(layer.p), name)  # type: ignore[arg-type]
        self.p = self.probability
        self.kind = KINDS[type(layer).__name__]
        self.is_alpha = "Alpha" in type(layer).__name__
        self.is_for_the_batch = getattr(layer, "mode", "") == "batch"
        self.rows_of_an_image, self.uses, self.units, self.column = 1, 1, 0, 0
        """Rows of its input for each image; calls in one forward pass; numbers in a row of the whole network; this process's column."""
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Drop parts of `x` and scale the rest up; in evaluation return `x`."""
        if not self.training or self.probability == 0:
            return x
        if self.probability >= 1:
            return x * 0.0
        rows = 1 if self.is_for_the_batch else len(x)
        units = {"units": x[:1].numel() if len(x) else 1, "channels": x.shape[1] if x.dim() > 1 else 1, "images": 1}[self.kind]
        whole = x.shape if self.kind == "units" else (rows, units, *[1] * (x.dim() - 2))
        first_unit = self.column * units if self.kind != "images" and x[:1].numel() < self.units else 0
        mask = self.mask(self._draw_of_this_use(), rows, units, first_unit, x).view(whole[: x.dim()] if x.dim() > 1 else rows)
        if not self.is_alpha:
            return x * mask
        kept, p = (mask > 0).to(x.dtype), self.probability
        scale = ((ALPHA**2 * p + 1) * (1 - p)) ** -0.5
        return x * kept * scale + (kept - 1) * ALPHA * scale + ALPHA * scale * p

    def _draw_of_this_use(self) -> Tensor:
        """The key's words and the first row; other words for each further use of the layer in one forward pass."""
        use = self.calls % self.uses
        if self.uses > 1:
            self.calls += 1
        if self.rows_of_an_image == 1 and not use and not self.is_for_the_batch:
            return self.draw
        low, high, row = self.draw.unbind()
        row = row * 0 if self.is_for_the_batch else row * self.rows_of_an_image
        return torch.stack([low ^ random.signed(use * ANOTHER_USE & 0xFFFFFFFF), high, row])


def key_dropout(module: nn.Module) -> None:
    """Put keyed dropout in the place of every dropout layer of PyTorch and torchvision in `module`, in place."""
    made: dict[int, DropoutOfAnyShape] = {}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if name and type(layer).__name__ in KINDS and type(layer).__module__.startswith(("torch.", "torchvision.")):
            module.set_submodule(name, made.setdefault(id(layer), DropoutOfAnyShape(layer, name)))
