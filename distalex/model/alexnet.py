"""The networks: AlexNet in two columns as the paper has it, as one tower, and small for small images. Nothing here knows of processes.

A column is a group of a grouped convolution, so that one device can hold them all: slicing every weight and bias on
dim 0 gives exactly one column's parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from distalex import random
from distalex.config.model import ModelConfig
from distalex.model.batch_norm import BatchNorm
from distalex.model.dropout import KeyedDropout
from distalex.model.lrn import LocalResponseNorm
from distalex.model.networks import Conv, convolutions
from distalex.model.pool import MaxPool

POOLED = 6  # side of pool5's output that fc6 reads: 6 at 224 pixels, made 6 by adaptive pooling at other sizes
POOLED_SMALL = 4  # the same of the `cifar` network: 4 at 32 pixels


class AlexNet(nn.Module):
    """AlexNet (Section 3.5), one network on one device.

    Args:
        options: which network, and its sizes.
        classes: outputs of fc8.
        image_size: side of the square input in pixels.

    Raises:
        ValueError: the input is so small that a layer would have no output.
    """

    fc6: nn.Linear | None
    fc7: nn.Linear | None
    drop5: nn.Module
    drop6: nn.Module
    drop7: nn.Module

    def __init__(self, config: ModelConfig, classes: int, image_size: int) -> None:
        super().__init__()
        self.columns, self.classes, self.image_size = config.columns, classes, image_size
        self.table = convolutions(config)
        activation: Callable[[], nn.Module] = nn.Tanh if config.activation == "tanh" else partial(nn.ReLU, inplace=True)
        self.activation = activation()
        pooled = POOLED_SMALL if config.name == "cifar" else POOLED
        channels, side = 3, image_size
        for number, (name, conv) in enumerate(self.table.items(), 1):
            groups = config.columns if conv.reads == "own" else 1
            bias = not config.batch_norm  # which has a shift of its own
            layer = nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.padding, groups=groups, bias=bias)
            normalises = conv.lrn and config.lrn
            after: list[nn.Module] = [
                LocalResponseNorm(config.lrn_alpha, config.columns) if normalises else activation()  # either rectifies
            ]
            if conv.pool:  # windows of 3 every 2 pixels overlap (Section 3.4)
                # ReLU and tanh commute with the maximum, so where nothing stands between them they take the fewer pixels.
                after.insert(1 if normalises else 0, MaxPool(conv.window, conv.margin))
            if config.batch_norm:
                after.insert(len(after) - 1, BatchNorm(conv.channels))
            self.add_module(name, layer)
            self.add_module(f"after{number}", nn.Sequential(*after))
            channels, side = conv.channels, _side_after(side, conv)
        if side < 1:
            raise ValueError(f"an input of {image_size}x{image_size} pixels has no output after {name}; 64 or more are needed")
        self.repeats = max(1.0, (pooled / side) ** 2)
        """How often adaptive pooling repeats each of fc6's inputs."""
        self.pool = _pool_to(pooled, side)
        units = channels * pooled**2
        for name, width in (("fc6", config.fc6), ("fc7", config.fc7)):
            self.add_module(name, nn.Linear(units, width) if width else None)
            units = width or units
        self.fc8 = nn.Linear(units, classes)
        dropped = ("drop6", "drop7") if config.name == "paper" else ("drop5", "drop6")
        for name in ("drop5", "drop6", "drop7"):
            self.add_module(name, KeyedDropout(config.dropout, name) if name in dropped else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (images, classes), before any soft-max, of normalised images (images, 3, side, side)."""
        return self.classify(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """What fc6 reads, (images, 36 * channels of conv5), of normalised images (images, 3, side, side)."""
        for number, name in enumerate(self.table, 1):
            x = self.get_submodule(name)(x)
            x = self.get_submodule(f"after{number}")(x)
        return self.pool(x).flatten(1)

    def classify(self, x: Tensor) -> Tensor:
        """Logits (images, classes) of what `convolve` gives."""
        x = self.drop5(x)
        if self.fc6 is not None:
            x = self.drop6(self.activation(self.fc6(x)))
        if self.fc7 is not None:
            x = self.drop7(self.activation(self.fc7(x)))
        return self.fc8(x)

    @property
    def first_linear(self) -> str:
        """The first of the fully connected layers."""
        return next(name for name in ("fc6", "fc7", "fc8") if getattr(self, name) is not None)

    def key_masks(self, seed: int, step: int, first_row: int) -> None:
        """Name the step whose dropout masks come next, and which row of the global batch the first image is."""
        for module in self.modules():
            if isinstance(module, KeyedDropout):
                low, high = random.key(seed, "dropout", step, module.layer)
                draw = torch.tensor([random.signed(low), random.signed(high), first_row], dtype=torch.int32)
                module.draw.copy_(draw, non_blocking=True)


def _pool_to(pooled: int, side: int) -> nn.Module:
    """Adaptive average pooling to `pooled` pixels a side; where that only repeats pixels, nearest-neighbour resizing, which is faster."""
    if side == pooled:
        return nn.Identity()
    return nn.Upsample(size=(pooled, pooled)) if pooled % side == 0 else nn.AdaptiveAvgPool2d(pooled)


def _side_after(side: int, conv: Conv) -> int:
    side = (side + 2 * conv.padding - conv.kernel) // conv.stride + 1
    return (side + 2 * conv.margin - conv.window) // 2 + 1 if conv.pool else side


def count_macs(config: ModelConfig, classes: int, image_size: int) -> int:
    """Multiplications, each with an addition, of one image's forward pass."""
    macs, channels, side = 0, 3, image_size
    for conv in convolutions(config).values():
        groups = config.columns if conv.reads == "own" else 1
        positions = ((side + 2 * conv.padding - conv.kernel) // conv.stride + 1) ** 2
        macs += positions * conv.channels * channels // groups * conv.kernel**2
        channels, side = conv.channels, _side_after(side, conv)
    units = channels * (POOLED_SMALL if config.name == "cifar" else POOLED) ** 2
    for width in (config.fc6, config.fc7, classes):
        if width:
            macs += units * width
            units = width
    return macs
