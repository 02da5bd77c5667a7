"""AlexNet as a chain of convolutions and up to three fully connected layers; `networks/` holds the tables of convolutions.

A column is a group of a grouped convolution, so that one device computes all columns at once: slicing every weight and bias on
dim 0 gives one column's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from distalex.config.model import ModelConfig
from distalex.model.batch_norm import BatchNorm
from distalex.model.dropout import KeyedDropout
from distalex.model.lrn import LocalResponseNorm
from distalex.model.network import Network
from distalex.model.pool import MaxPool


class Conv(NamedTuple):
    """One convolution and what follows it besides the activation function."""

    channels: int
    """Output channels of all columns together."""
    kernel: int
    """Side in pixels."""
    stride: int
    """Pixels."""
    padding: int
    """Pixels on each edge."""
    reads: str
    """`image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    lrn: bool = False
    """Whether local response normalisation follows, with `model.lrn`."""
    pool: bool = False
    """Whether max-pooling with stride 2 follows."""
    margin: int = 0
    """Padding of the pooling in pixels."""
    window: int = 3
    """Side of the pooling's windows in pixels."""

    def positions(self, side: int) -> int:
        """Return the side of the convolution's output for an input of `side` pixels."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1

    def side_after(self, side: int) -> int:
        """Return the side after the pooling for an input of `side` pixels."""
        side = self.positions(side)
        return (side + 2 * self.margin - self.window) // 2 + 1 if self.pool else side


def convolutions_of(
    rows: Mapping[str, tuple[int, int, int, int, str, bool, bool]], config: ModelConfig, margin: int = 0
) -> dict[str, Conv]:
    """Return the convolutions of a network in columns, with the changes that the paper compares with it where `config` asks for them.

    `rows` has the first seven fields of each; `margin` is that of pooling in overlapping windows, plain ones have none.
    """
    overlapping, table = config.pool == "overlapping", {}
    for name, row in rows.items():
        conv = Conv(*row, margin=margin if overlapping else 0, window=3 if overlapping else 2)
        if name not in config.without:
            reads = conv.reads if conv.reads == "image" else "both" if name in config.exchange else "own"
            table[name] = conv._replace(channels=round(conv.channels * config.width), reads=reads)
    return table


class AlexNet(Network):
    """AlexNet (Section 3.5) on one device.

    Args:
        config: sizes, activation function, normalisation and dropout.
        classes: outputs of fc8.
        image_size: side of the square input in pixels.
        table: convolutions by name, in order.
        pooled: side of the last convolution's output that adaptive pooling passes to the first fully connected layer, in pixels.
        dropped: which of `drop5` (the input of fc6), `drop6` and `drop7` (the outputs of fc6 and fc7) apply dropout.

    Raises:
        ValueError: the input is so small that a layer would have no output.
    """

    fc6: nn.Linear | None
    fc7: nn.Linear | None
    fc8: nn.Linear
    pool: nn.Module
    drop5: nn.Module
    drop6: nn.Module
    drop7: nn.Module

    classifier = "fc8"
    is_static = True

    def __init__(
        self, config: ModelConfig, classes: int, image_size: int, table: Mapping[str, Conv], pooled: int, dropped: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.columns, self.classes, self.image_size = config.columns, classes, image_size
        activation: Callable[[], nn.Module] = nn.Tanh if config.activation == "tanh" else partial(nn.ReLU, inplace=True)
        self.activation = activation()
        self.followed_by = {name: f"after{number}" for number, name in enumerate(table, 1)}
        channels, side, self.macs = 3, image_size, 0
        for name, conv in table.items():
            groups = config.columns if conv.reads == "own" else 1
            bias = not config.batch_norm  # batch normalisation has a shift of its own
            self.add_module(name, nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.padding, groups=groups, bias=bias))
            self.add_module(self.followed_by[name], _after(conv, config, activation))
            self.macs += conv.positions(side) ** 2 * conv.channels * channels // groups * conv.kernel**2
            channels, side = conv.channels, conv.side_after(side)
        if side < 1:
            raise ValueError(f"an input of {image_size}x{image_size} pixels has no output after {name}; 64 or more are needed")
        self.repeats = max(1.0, (pooled / side) ** 2)
        self.pool = _pool_to(pooled, side)
        units = channels * pooled**2
        for name, width in (("fc6", config.fc6), ("fc7", config.fc7), ("fc8", classes)):
            self.add_module(name, nn.Linear(units, width) if width else None)
            self.macs += units * width
            units = width or units
        for name, layer in (("drop5", None), ("drop6", "fc6"), ("drop7", "fc7")):
            self.add_module(name, KeyedDropout(config.dropout, name, layer) if name in dropped else nn.Identity())
        linear = [name for name in ("fc6", "fc7", "fc8") if getattr(self, name) is not None]
        self.reads = {name: conv.reads for name, conv in table.items()} | dict.fromkeys(linear, "both")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (images, classes), before any soft-max, for normalised images (images, 3, side, side)."""
        return self.classify(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """Return what fc6 reads, (images, channels * pooled**2), for normalised images (images, 3, side, side)."""
        for name, after in self.followed_by.items():
            x = self.get_submodule(name)(x)
            x = self.get_submodule(after)(x)
        return self.pool(x).flatten(1)

    def classify(self, x: Tensor) -> Tensor:
        """Return logits (images, classes) for what `convolve` returns."""
        x = self.drop5(x)
        if self.fc6 is not None:
            x = self.drop6(self.activation(self.fc6(x)))
        if self.fc7 is not None:
            x = self.drop7(self.activation(self.fc7(x)))
        return self.fc8(x)

    def stages(self) -> dict[str, nn.Sequential]:
        """Return the forward pass cut before each layer with weights, by the layer's name."""
        found = {name: [self.get_submodule(name), self.get_submodule(after)] for name, after in self.followed_by.items()}
        found[[*found][-1]] += [self.pool, nn.Flatten(), self.drop5]
        for name, layer, drop in (("fc6", self.fc6, self.drop6), ("fc7", self.fc7, self.drop7)):
            if layer is not None:
                found[name] = [layer, self.activation, drop]
        found["fc8"] = [self.fc8]
        return {name: nn.Sequential(*modules) for name, modules in found.items()}


def _after(conv: Conv, config: ModelConfig, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Build what follows a convolution: activation, normalisation and pooling."""
    pool = [MaxPool(conv.window, conv.margin)] if conv.pool else []
    norm = [BatchNorm(conv.channels)] if config.batch_norm else []
    if conv.lrn and config.lrn:
        return nn.Sequential(LocalResponseNorm(config.lrn_alpha, config.columns), *norm, *pool)  # LRN includes the ReLU
    # ReLU and tanh commute with the maximum, so they follow the pooling, which leaves fewer pixels.
    return nn.Sequential(*pool, *norm, activation())


def _pool_to(pooled: int, side: int) -> nn.Module:
    """Build adaptive average pooling from `side` to `pooled` pixels; where that only repeats pixels, faster nearest-neighbour resizing."""
    if side == pooled:
        return nn.Identity()
    return nn.Upsample(size=(pooled, pooled)) if pooled % side == 0 else nn.AdaptiveAvgPool2d(pooled)
