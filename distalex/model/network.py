"""What the rest of distalex asks of a network, and the network that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import torch
from torch import Tensor, nn

from distalex import random
from distalex.config.model import ModelConfig
from distalex.model.dropout import KeyedDropout


class Network(nn.Module):
    """A network that classifies images.

    `forward` takes normalised images, (images, 3, side, side), and returns logits, (images, classes). Every process can train one by
    itself or as a replica. Columns, One Weird Trick and the planner's estimates need `reads`, `stages` and, for One Weird Trick,
    `convolve` and `classify`.
    """

    classes: int
    """Number of logits."""
    image_size: int
    """Side of the square input in pixels."""
    classifier: str
    """Name of the layer that returns the logits. Its input are the features by which images are compared (Section 6.1)."""
    macs: int
    """Multiplications, each with an addition, of one image's forward pass."""
    columns: int = 1
    """Columns (groups) of the network. Slicing every parameter on dim 0 gives one column's parameters."""
    reads: Mapping[str, str] = {}
    """What each layer with weights reads, in order: `image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    followed_by: Mapping[str, str] = {}
    """For a chain of convolutions, the name of the module between each convolution and the next, by the convolution's name."""
    is_static: bool = False
    """Whether the forward pass does the same for every batch of one shape, so that a GPU may replay it."""
    is_given: bool = False
    """Whether it is a network of one's own, whose table may be wrong."""
    cuts: bool = True
    """Whether it has `convolve` and `classify`, which One Weird Trick needs."""
    repeats: float = 1.0
    """How often each input of the first fully connected layer appears, where adaptive pooling enlarges its input."""

    @property
    def first_layer(self) -> str | None:
        """Name of the layer that reads the image, None where `reads` names none."""
        return next((name for name, reads in self.reads.items() if reads == "image"), None)

    @property
    def linear_layers(self) -> tuple[str, ...]:
        """Names of the fully connected layers in order, the classifier last."""
        return tuple(name for name in self.reads if isinstance(self.get_submodule(name), nn.Linear))

    def convolve(self, x: Tensor) -> Tensor:
        """Return what the first fully connected layer reads, (images, inputs), for images (images, 3, side, side)."""
        raise NotImplementedError(f"{type(self).__name__}.convolve")

    def classify(self, x: Tensor) -> Tensor:
        """Return logits (images, classes) for what `convolve` returns."""
        raise NotImplementedError(f"{type(self).__name__}.classify")

    def stages(self) -> dict[str, nn.Sequential]:
        """Return the forward pass cut before each layer of `reads`: a layer and the modules up to the next, by the layer's name."""
        raise NotImplementedError(f"{type(self).__name__}.stages")

    def key_masks(self, seed: int, step: int, first_row: int) -> None:
        """Set what the next dropout masks are keyed by; the first image is row `first_row` of the global batch."""
        for module in self.modules():
            if isinstance(module, KeyedDropout):
                low, high = random.key(seed, "dropout", step, module.layer)
                draw = torch.tensor([random.signed(low), random.signed(high), first_row], dtype=torch.int32)
                module.draw.copy_(draw, non_blocking=True)


def build_network(config: ModelConfig, classes: int, image_size: int) -> Network:
    """Build the network that `config` names, on the current default device and with arbitrary weights.

    Raises:
        ValueError: the images are so small that a layer would have no output.
    """
    if config.is_own:
        net: Network = build_given(config, classes, image_size, 0)
        return net.to(torch.get_default_device())
    return import_module(f"distalex.model.networks.{config.name}").build(config, classes, image_size)


def build_given(config: ModelConfig, classes: int, image_size: int, seed: int) -> Network:
    """Build a network of one's own on the CPU, with initial weights keyed by `seed`. Raises UserError as `own.build_own`."""
    return import_module("distalex.model.own").build_own(config, classes, image_size, seed)


def count_macs(config: ModelConfig, classes: int, image_size: int) -> int:
    """Return the multiplications, each with an addition, of one image's forward pass."""
    with torch.device("meta"):
        return build_network(config, classes, image_size).macs
