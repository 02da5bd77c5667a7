"""Convolutions as a GPU does them fastest: the first on blocks of pixels, and the columns that share a device apart.

cuDNN has no fast kernel for three input channels, nor for grouped convolutions in channels-last order. Neither changes what is
computed, nor any parameter. A process with some of the columns, more than one, keeps them in grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex.model.alexnet import AlexNet
from distalex.model.lrn import LocalResponseNorm
from distalex.parallel.mesh import Mesh

Kind = TypeVar("Kind", bound=nn.Conv2d)


def adapt(net: AlexNet, mesh: Mesh) -> None:
    """Let the convolutions of `net` be computed so where that is faster on this mesh's device, in place."""
    if mesh.device.type != "cuda":
        return
    has_all_columns = mesh.columns == 1 or mesh.spreads_images
    if net.columns > 1 and has_all_columns and any(conv.reads == "own" for conv in net.table.values()):
        _keep_apart(net)
    elif net.table["conv1"].stride > 1:
        net.set_submodule("conv1", _remade(net.get_submodule("conv1"), BlockedConv))


def _keep_apart(net: AlexNet) -> None:
    for number, (name, conv) in enumerate(net.table.items(), 1):
        layer = _remade(net.get_submodule(name), ConvOfColumns)
        layer.columns, layer.reads = net.columns, conv.reads
        net.set_submodule(name, layer)
        after = EachColumn(*net.get_submodule(f"after{number}").children())
        for module in after:
            if isinstance(module, LocalResponseNorm):
                module.columns = 1
        net.set_submodule(f"after{number}", after)
    net.pool = nn.Sequential(Together(), net.pool)


def _remade(layer: nn.Module, kind: type[Kind]) -> Kind:
    """The convolution `layer` as `kind`, with its very parameters."""
    assert isinstance(layer, nn.Conv2d)
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    with torch.device("meta"):
        made = kind(layer.in_channels, layer.out_channels, kernel, stride, padding, groups=layer.groups, bias=layer.bias is not None)
    made.weight, made.bias = layer.weight, layer.bias
    return made


class BlockedConv(nn.Conv2d):
    """A convolution of stride 2 or more on blocks of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, side, side), any memory format -> channels-last."""
        blocks = _in_blocks(x, self.kernel_size[0], self.stride[0], int(self.padding[0]))
        return functional.conv2d(blocks, _kernel_of_blocks(self.weight, self.stride[0]), self.bias)


def _in_blocks(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Pixels that one step of `stride` passes, as channels of one pixel: (n, channels, side, side) -> (n, stride**2 * channels, …)."""
    count, channels, side, _ = x.shape
    steps = (side + 2 * padding - kernel) // stride + -(-kernel // stride)
    after = steps * stride - side - padding  # less than zero where the last pixels are in no window
    pixels = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding, after, padding, after))
    blocks = pixels.reshape(count, steps, stride, steps, stride, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, steps, steps, stride**2 * channels).permute(0, 3, 1, 2)


def _kernel_of_blocks(weight: Tensor, stride: int) -> Tensor:
    """What (outputs, channels, kernel, kernel) is for such blocks."""
    outputs, channels, kernel, _ = weight.shape
    steps = -(-kernel // stride)
    missing = steps * stride - kernel
    pixels = functional.pad(weight.permute(0, 2, 3, 1), (0, 0, 0, missing, 0, missing))
    blocks = pixels.reshape(outputs, steps, stride, steps, stride, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(outputs, steps, steps, stride**2 * channels).permute(0, 3, 1, 2)


class ConvOfColumns(nn.Conv2d):
    """A convolution whose columns are tensors of their own."""

    columns: int
    reads: str

    def forward(self, x: Tensor | Sequence[Tensor]) -> list[Tensor]:  # type: ignore[override]
        """The image, (n, 3, side, side), or each column's (n, channels / columns, h, w) -> each column's."""
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
    """What follows a convolution, for each column's tensor."""

    def forward(self, parts: Sequence[Tensor]) -> list[Tensor]:
        return [super(EachColumn, self).forward(part) for part in parts]


class Together(nn.Module):
    """The columns' channels one after the other, as the grouped network has them."""

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), 1)
