"""Faster convolutions on a GPU: the first on blocks of pixels, and columns that share a device in convolutions of their own.

cuDNN has no fast kernel for three input channels, nor for grouped convolutions in channels-last order. Neither change affects results
or parameters. A process with several of the columns, but not all, keeps them in grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex.model.lrn import LocalResponseNorm
from distalex.model.network import Network
from distalex.parallel.mesh import Mesh

Kind = TypeVar("Kind", bound=nn.Conv2d)


def adapt(net: Network, mesh: Mesh) -> None:
    """Replace the convolutions of `net` by those that are faster on this mesh's device, in place."""
    if mesh.device.type != "cuda":
        return
    has_all_columns = mesh.columns == 1 or mesh.spreads_images
    first = net.get_submodule(net.first_layer) if net.first_layer else None
    if net.columns > 1 and has_all_columns and "own" in net.reads.values():
        _split_columns(net)
    elif net.first_layer and isinstance(first, nn.Conv2d) and first.stride[0] > 1:
        net.set_submodule(net.first_layer, _remade(first, BlockedConv))


def _split_columns(net: Network) -> None:
    """Make each column a tensor of its own from the first convolution to the last, in place."""
    for name, followed_by in net.followed_by.items():
        layer = _remade(net.get_submodule(name), ConvOfColumns)
        layer.columns, layer.reads = net.columns, net.reads[name]
        net.set_submodule(name, layer)
        after: nn.Module = EachColumn(*net.get_submodule(followed_by).children())
        for module in after.children():
            if isinstance(module, LocalResponseNorm):
                module.columns = 1
        net.set_submodule(followed_by, after)
    net.set_submodule(followed_by, nn.Sequential(after, Together()))


def _remade(layer: nn.Module, kind: type[Kind]) -> Kind:
    """Return the convolution `layer` as `kind`, with the same parameter objects."""
    assert isinstance(layer, nn.Conv2d)
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    with torch.device("meta"):
        made = kind(layer.in_channels, layer.out_channels, kernel, stride, padding, groups=layer.groups, bias=layer.bias is not None)
    made.weight, made.bias = layer.weight, layer.bias
    return made


class BlockedConv(nn.Conv2d):
    """A convolution of stride 2 or more, computed on blocks of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (images, channels, side, side) in any memory format; the result is channels-last."""
        blocks = _in_blocks(x, self.kernel_size[0], self.stride[0], int(self.padding[0]))
        return functional.conv2d(blocks, _kernel_of_blocks(self.weight, self.stride[0]), self.bias)


def _in_blocks(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Turn blocks of stride x stride pixels into channels: (n, channels, side, side) -> (n, stride**2 * channels, blocks, blocks)."""
    count, channels, side, _ = x.shape
    steps = (side + 2 * padding - kernel) // stride + -(-kernel // stride)
    after = steps * stride - side - padding  # negative where no window reaches the last pixels
    pixels = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding, after, padding, after))
    blocks = pixels.reshape(count, steps, stride, steps, stride, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, steps, steps, stride**2 * channels).permute(0, 3, 1, 2)


def _kernel_of_blocks(weight: Tensor, stride: int) -> Tensor:
    """Return the weight (outputs, channels, kernel, kernel) for inputs in such blocks."""
    outputs, channels, kernel, _ = weight.shape
    steps = -(-kernel // stride)
    missing = steps * stride - kernel
    pixels = functional.pad(weight.permute(0, 2, 3, 1), (0, 0, 0, missing, 0, missing))
    blocks = pixels.reshape(outputs, steps, stride, steps, stride, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(outputs, steps, steps, stride**2 * channels).permute(0, 3, 1, 2)


class ConvOfColumns(nn.Conv2d):
    """A convolution that takes and returns a list with a tensor for each column."""

    columns: int
    reads: str

    def forward(self, x: Tensor | Sequence[Tensor]) -> list[Tensor]:  # type: ignore[override]
        """Convolve images (n, 3, side, side), or each column's (n, channels / columns, height, width), to each column's."""
        weights = self.weight.chunk(self.columns)
        biases = [None] * self.columns if self.bias is None else self.bias.chunk(self.columns)
        stride, padding = self.stride[0], int(self.padding[0])
        if isinstance(x, Tensor):
            x = _in_blocks(x, self.kernel_size[0], stride, padding)
            weights = tuple(_kernel_of_blocks(weight, stride) for weight in weights)
            inputs, stride, padding = [x] * self.columns, 1, 0
        else:
            inputs = list(x) if self.reads == "own" else [torch.cat(list(x), 1)] * self.columns
        return [functional.conv2d(*column, stride, padding) for column in zip(inputs, weights, biases, strict=True)]


class EachColumn(nn.Sequential):
    """A sequence of modules that is applied to each column's tensor."""

    def forward(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Apply the modules to each tensor of `parts`."""
        return [super(EachColumn, self).forward(part) for part in parts]


class Together(nn.Module):
    """Joins the columns on the channels, in the order of the grouped network."""

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Join `parts`, each (n, channels / columns, height, width)."""
        return torch.cat(list(parts), 1)
