"""The networks: AlexNet in two columns as the paper has it, as one tower, and small for small pictures. Nothing here knows of processes.

A column is a group of a grouped convolution, so that one device can hold them all: slicing every weight and bias on
dim 0 gives exactly one column's parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex import random
from distalex.config import config
from distalex.model.lrn import LocalResponseNorm
from distalex.model.pool import MaxPool

POOLED = 6  # side of pool5's output that fc6 reads: 6 at 224 pixels, made 6 by adaptive pooling at other sizes
POOLED_SMALL = 4  # the same of the `cifar` network: 4 at 32 pixels
MOMENTUM = 0.1  # of batch normalisation: weight of the newest statistics in their moving averages
EPSILON = 1e-5  # and what is added to the variance


class Conv(NamedTuple):
    """One convolution, its row of the paper's Figure 2 and what follows it besides the ReLU."""

    channels: int
    kernel: int
    stride: int
    padding: int
    reads: str
    """`image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    lrn: bool = False
    pool: bool = False
    margin: int = 0
    """Pixels that pooling's windows may reach over each edge."""
    window: int = 3
    """Side in pixels of pooling's windows, which come every 2 pixels."""


PAPER = {
    "conv1": Conv(96, 11, 4, 2, "image", lrn=True, pool=True),
    "conv2": Conv(256, 5, 1, 2, "own", lrn=True, pool=True),
    "conv3": Conv(384, 3, 1, 1, "both"),
    "conv4": Conv(384, 3, 1, 1, "own"),
    "conv5": Conv(256, 3, 1, 1, "own", pool=True),
}
ONE_TOWER = {
    "conv1": Conv(64, 11, 4, 2, "image", pool=True),
    "conv2": Conv(192, 5, 1, 2, "own", pool=True),
    "conv3": Conv(384, 3, 1, 1, "both"),
    "conv4": Conv(256, 3, 1, 1, "own"),
    "conv5": Conv(256, 3, 1, 1, "own", pool=True),
}


def convolutions(options: config.Model) -> dict[str, Conv]:
    """The network that `options` names, as a table."""
    match options.name:
        case "paper":
            window = 3 if options.pool == "overlapping" else 2
            return {
                name: conv._replace(
                    channels=round(conv.channels * options.width),
                    reads=conv.reads if conv.reads == "image" else "both" if name in options.exchange else "own",
                    window=window,
                )
                for name, conv in PAPER.items()
                if name not in options.without
            }
        case "seed" | "torchvision":
            return ONE_TOWER
        case "cifar":
            table = {}
            for number, (channels, kernel) in enumerate(zip(options.channels, options.kernels, strict=True), 1):
                reads = "both" if number > 1 else "image"
                table[f"conv{number}"] = Conv(channels, kernel, 1, kernel // 2, reads, pool=f"conv{number}" in options.pooled, margin=1)
            return table


TORCHVISION_KEYS = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}


class KeyedDropout(nn.Module):
    """Dropout whose mask is keyed by (seed, step, layer, picture, unit), so that it does not depend on the mesh.

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
        """`x` (pictures, units), some units zeroed and the rest scaled up; `x` itself in evaluation."""
        if not self.training or self.probability == 0:
            return x
        pictures, units = x.shape
        exact = (self.probability * 2**8).is_integer()
        size, kind = (8, torch.int8) if exact else (16, torch.int16)  # bits that decide a unit
        rows = torch.arange(pictures, device=x.device, dtype=torch.int32) + self.draw[2]
        first_word, skipped = divmod(self.first_unit, 32 // size)
        words = torch.arange(first_word, first_word - (-(skipped + units) * size // 32), device=x.device, dtype=torch.int32)
        drawn = random.torch_grid(self.draw, rows, words).view(kind)[:, skipped : skipped + units]
        keep = drawn >= round(self.probability * 2**size) - 2 ** (size - 1)
        return x * keep.to(x.dtype).mul_(1.0 / (1.0 - self.probability))

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) of each channel of (pictures, channels, side, side), with a scale and a shift.

    Evaluation uses the moving averages of mean and variance. Of several replicas, `parallelize` makes the statistics those of
    the whole batch.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, self.training, MOMENTUM, EPSILON)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"


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

    def __init__(self, options: config.Model, classes: int, image_size: int) -> None:
        super().__init__()
        self.columns, self.classes, self.image_size = options.columns, classes, image_size
        self.table = convolutions(options)
        activation: Callable[[], nn.Module] = nn.Tanh if options.activation == "tanh" else partial(nn.ReLU, inplace=True)
        self.activation = activation()
        pooled = POOLED_SMALL if options.name == "cifar" else POOLED
        channels, side = 3, image_size
        for number, (name, conv) in enumerate(self.table.items(), 1):
            groups = options.columns if conv.reads == "own" else 1
            bias = not options.batch_norm  # which has a shift of its own
            layer = nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.padding, groups=groups, bias=bias)
            normalises = conv.lrn and options.lrn
            after: list[nn.Module] = [
                LocalResponseNorm(options.lrn_alpha, options.columns) if normalises else activation()  # either rectifies
            ]
            if conv.pool:  # windows of 3 every 2 pixels overlap (Section 3.4)
                # ReLU and tanh commute with the maximum, so where nothing stands between them they take the fewer pixels.
                after.insert(1 if normalises else 0, MaxPool(conv.window, conv.margin))
            if options.batch_norm:
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
        for name, width in (("fc6", options.fc6), ("fc7", options.fc7)):
            self.add_module(name, nn.Linear(units, width) if width else None)
            units = width or units
        self.fc8 = nn.Linear(units, classes)
        dropped = ("drop6", "drop7") if options.name == "paper" else ("drop5", "drop6")
        for name in ("drop5", "drop6", "drop7"):
            self.add_module(name, KeyedDropout(options.dropout, name) if name in dropped else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (pictures, classes), before any soft-max, of normalised pictures (pictures, 3, side, side)."""
        return self.classify(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """What fc6 reads, (pictures, 36 * channels of conv5), of normalised pictures (pictures, 3, side, side)."""
        for number, name in enumerate(self.table, 1):
            x = self.get_submodule(name)(x)
            x = self.get_submodule(f"after{number}")(x)
        return self.pool(x).flatten(1)

    def classify(self, x: Tensor) -> Tensor:
        """Logits (pictures, classes) of what `convolve` gives."""
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
        """Name the step whose dropout masks come next, and which row of the global batch the first picture is."""
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


def count_macs(options: config.Model, classes: int, image_size: int) -> int:
    """Multiplications, each with an addition, of one picture's forward pass."""
    macs, channels, side = 0, 3, image_size
    for conv in convolutions(options).values():
        groups = options.columns if conv.reads == "own" else 1
        positions = ((side + 2 * conv.padding - conv.kernel) // conv.stride + 1) ** 2
        macs += positions * conv.channels * channels // groups * conv.kernel**2
        channels, side = conv.channels, _side_after(side, conv)
    units = channels * (POOLED_SMALL if options.name == "cifar" else POOLED) ** 2
    for width in (options.fc6, options.fc7, classes):
        if width:
            macs += units * width
            units = width
    return macs


def build_model(options: config.Model, classes: int, image_size: int, seed: int) -> AlexNet:
    """The whole network on the CPU, its weights keyed by the seed and each layer's name."""
    with torch.device("meta"):
        net = AlexNet(options, classes, image_size)
    net._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # `to_empty` imports the compiler first, for a second
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            _initialise(layer, name, options.init, net, random.generator(seed, "init", name))
        elif isinstance(layer, KeyedDropout):
            layer.draw.zero_()
        elif isinstance(layer, BatchNorm):
            for tensor, value in ((layer.weight, 1.0), (layer.bias, 0.0), (layer.mean, 0.0), (layer.variance, 1.0)):
                nn.init.constant_(tensor, value)
    return net


RELEASED_STD = {
    "conv1": 0.01,
    "conv2": 0.01,
    "conv3": 0.03,
    "conv4": 0.03,
    "conv5": 0.03,
    "fc6": 0.005,
    "fc7": 0.005,
    "fc8": 0.01,
}
BIASED_TO_ONE = ("conv2", "conv4", "conv5", "fc6", "fc7")  # Section 5: gives the ReLUs positive inputs at first


@torch.no_grad()
def _initialise(layer: nn.Conv2d | nn.Linear, name: str, init: str, net: AlexNet, generator: torch.Generator) -> None:
    weight, bias = layer.weight, layer.bias if layer.bias is not None else torch.empty(0)  # normalisation has its own shift
    fan_in = weight[0].numel()
    match init:
        case "paper" | "released":
            weight.normal_(0.0, 0.01 if init == "paper" else RELEASED_STD[name], generator=generator)
            bias.fill_(float(name in BIASED_TO_ONE))
        case "torch":
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
        case "scaled" | "identity":
            # He et al.'s variance keeps the convolutions' outputs alive; in layers of thousands of units it makes SGD at
            # 0.01 unstable, since curvature grows with the squared norm of a layer's input, so those get a sixth of it.
            # Adaptive pooling repeats each of the first one's inputs where what it pools is smaller; repeated inputs add up.
            repeats = net.repeats if name == net.first_linear else 1.0
            variance = 2.0 if isinstance(layer, nn.Conv2d) else 1.0 / 3.0
            weight.normal_(0.0, math.sqrt(variance / (fan_in * repeats)), generator=generator)
            bias.zero_()
            if init == "identity" and isinstance(layer, nn.Conv2d) and name != "conv1":
                for filters in weight.chunk(layer.groups):
                    nn.init.dirac_(filters[: filters.shape[1]])
            elif init == "identity" and name == "fc8":
                weight.zero_()


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with torchvision's AlexNet keys, renamed to ours; any other is returned as it is."""
    if "features.0.weight" not in state:
        return state
    renamed = {}
    for key, value in state.items():
        layer, _, parameter = key.rpartition(".")
        renamed[f"{TORCHVISION_KEYS.get(layer, layer)}.{parameter}"] = value
    return renamed
