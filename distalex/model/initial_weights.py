"""Initial weights, keyed by the seed and each layer's name."""

from __future__ import annotations

import math

import torch
from torch import nn

from distalex import random
from distalex.config.model import ModelConfig
from distalex.model.batch_norm import BatchNorm
from distalex.model.dropout import KeyedDropout
from distalex.model.network import Network, build_given, build_network

RELEASED_STD = {  # standard deviations of the 2012 code
    "conv1": 0.01,
    "conv2": 0.01,
    "conv3": 0.03,
    "conv4": 0.03,
    "conv5": 0.03,
    "fc6": 0.005,
    "fc7": 0.005,
    "fc8": 0.01,
}
BIASED_TO_ONE = ("conv2", "conv4", "conv5", "fc6", "fc7")  # gives the ReLUs positive inputs at first (Section 5)


def build_model(config: ModelConfig, classes: int, image_size: int, seed: int) -> Network:
    """Build the whole network on the CPU, with initial weights keyed by `seed` and each layer's name.

    Args:
        config: the network and its sizes.
        classes: number of logits.
        image_size: side of the square input in pixels.
        seed: random seed of the run.
    """
    if config.is_own:
        return build_given(config, classes, image_size, seed)
    with torch.device("meta"):
        net = build_network(config, classes, image_size)
    net._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # `to_empty` imports the compiler, which takes a second
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            _initialise(layer, name, config.init, net, random.generator(seed, "init", name))
        elif isinstance(layer, KeyedDropout):
            layer.draw.zero_()
        elif isinstance(layer, BatchNorm):
            for tensor, value in ((layer.weight, 1.0), (layer.bias, 0.0), (layer.mean, 0.0), (layer.variance, 1.0)):
                nn.init.constant_(tensor, value)
    return net


@torch.no_grad()
def _initialise(layer: nn.Conv2d | nn.Linear, name: str, init: str, net: Network, generator: torch.Generator) -> None:
    weight, bias = layer.weight, layer.bias if layer.bias is not None else torch.empty(0)  # batch normalisation has a shift of its own
    fan_in = weight[0].numel()
    match init:
        case "paper" | "released":
            weight.normal_(0.0, 0.01 if init == "paper" else RELEASED_STD[name], generator=generator)
            bias.fill_(float(name in BIASED_TO_ONE))
        case "torch":
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
        case "scaled" | "identity":
            # He et al.'s variance keeps the convolutions' outputs alive. In layers of thousands of units it makes SGD at a rate of 0.01
            # unstable, since curvature grows with the squared norm of a layer's input, so those get a sixth of it. Where adaptive
            # pooling repeats the inputs of the first such layer, repeated inputs add up.
            repeats = net.repeats if name in net.linear_layers[:1] else 1.0
            variance = 2.0 if isinstance(layer, nn.Conv2d) else 1.0 / 3.0
            weight.normal_(0.0, math.sqrt(variance / (fan_in * repeats)), generator=generator)
            bias.zero_()
            if init == "identity" and isinstance(layer, nn.Conv2d) and name != net.first_layer:
                for filters in weight.chunk(layer.groups):
                    nn.init.dirac_(filters[: filters.shape[1]])
            elif init == "identity" and name == net.classifier:
                weight.zero_()
