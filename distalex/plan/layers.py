"""What each layer of a network costs: parameters, multiplications, inputs, outputs and memory.

Everything is measured on the network itself, built on the meta device, where tensors have shapes and no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distalex.config.model import ModelConfig
from distalex.model.freezing import WORDS, layers_meant
from distalex.model.network import Network, build_network


@dataclass(frozen=True)
class Layer:
    """A layer with weights and the modules up to the next one (ReLU, normalisation, pooling, dropout). Counts are for one image."""

    name: str
    """Name of the layer in the network."""
    convolves: bool
    """Whether it is a convolution, not a fully connected layer."""
    reads: str
    """`image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    rows: int
    """Output channels or units: dim 0 of the weight, along which processes divide it."""
    row_parameters: int
    """Weights, bias and normalisation of one row."""
    macs: int
    """Multiplications and additions of the forward pass."""
    inputs: int
    """Numbers in its input."""
    outputs: int
    """Numbers in its output."""
    kept: int
    """Bytes saved for the backward pass besides inputs and outputs."""
    words: frozenset[str] = frozenset()
    """What options may call it besides its name: blocks that hold it, `first`, `convolutions` or `classifier`."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole layer."""
        return self.rows * self.row_parameters

    def learns(self, config: ModelConfig) -> bool:
        """Return whether it is trained, at the end at least."""
        return config.thaw is not None or not {self.name, *self.words} & set(config.freeze)


@lru_cache(maxsize=16)
def layers_of(config: ModelConfig, classes: int, image_size: int, precision: str) -> tuple[Layer, ...]:
    """Return the layers of the network that `config` names, computing in `precision` (fp32 or bf16)."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device("meta"):
        net = build_network(config, classes, image_size).to(dtype)
        x = torch.empty(2, 3, image_size, image_size, dtype=dtype)
        if net.is_given:
            return tuple(replace(layer, words=_words(net, layer.name)) for layer in _observed(net, x))
        layers = []
        for name, stage in net.stages().items():
            y, kept = _run(stage, x)
            layers.append(replace(_layer(name, stage, net.reads[name], x, y, kept), words=_words(net, name)))
            x = y
    return tuple(layers)


def _words(net: Network, name: str) -> frozenset[str]:
    """What options may call the layer `name` besides its name: the blocks that hold it, and those of WORDS that stand for it."""
    parts = name.split(".")
    blocks = {".".join(parts[:end]) for end in range(1, len(parts))}
    return frozenset(blocks | {word for word in WORDS if name in layers_meant(net, word)})


def _observed(net: Network, x: Tensor) -> list[Layer]:
    """Return the layers with parameters of a network that is not a chain, in the order in which a forward pass ends them.

    Work and memory between two of them count with the second. Every layer but those of `net.linear_layers` counts as a convolution,
    since it is not divided among processes without a table.
    """
    layers: list[Layer] = []
    counter, kept, done = FlopCounterMode(display=False), dict[int, Tensor](), [0]
    parameters = {parameter.untyped_storage()._cdata for parameter in net.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def ended(name: str, layer: nn.Module, given: Any, output: Any) -> None:
        y, inputs = (next((one for one in (*given, output) if isinstance(one, Tensor)), x) for given in ((output,), given))
        held = [tensor for storage, tensor in kept.items() if storage not in parameters and tensor.dim() and len(tensor) == len(x)]
        counts = [parameter.numel() for parameter in layer.parameters(recurse=False)]
        rows = len(next(layer.parameters(recurse=False)))
        rows = rows if sum(counts) % rows == 0 else 1
        macs = (counter.get_total_flops() - done[0]) // 2 // len(x)
        own = max(0, sum(tensor.nbytes for tensor in held) - inputs.nbytes) // len(x)
        is_joint = net.cuts and name in net.linear_layers
        reads = net.reads.get(name, "own" if layers else "image")
        layers.append(Layer(name, not is_joint, reads, rows, sum(counts) // rows, macs, inputs[0].numel(), y[0].numel(), own))
        done[0] = counter.get_total_flops()
        kept.clear()

    own = {name: layer for name, layer in net.named_modules() if name and any(True for _ in layer.parameters(recurse=False))}
    hooks = [layer.register_forward_hook(partial(ended, name)) for name, layer in own.items()]
    try:
        with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return list({layer.name: layer for layer in layers}.values())


def _layer(name: str, stage: nn.Sequential, reads: str, x: Tensor, y: Tensor, kept: int) -> Layer:
    layer = stage[0]
    weight = layer.get_parameter("weight")
    positions = layer(x)[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
    return Layer(
        name,
        isinstance(layer, nn.Conv2d),
        reads,
        rows=len(weight),
        row_parameters=sum(parameter.numel() for parameter in stage.parameters()) // len(weight),
        macs=weight.numel() * positions,
        inputs=x[0].numel(),
        outputs=y[0].numel(),
        kept=kept,
    )


def _run(stage: nn.Sequential, x: Tensor) -> tuple[Tensor, int]:
    """Return the output of `stage`, and the bytes for each image that autograd saves besides input, output and parameters."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    x = x.detach().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = stage(x)
    elsewhere = {tensor.untyped_storage()._cdata for tensor in (x, y, *stage.parameters())}
    images = len(x)
    # A tensor without a batch dimension, such as normalisation's band of ones, does not grow with the batch.
    own = [tensor for storage, tensor in kept.items() if storage not in elsewhere and len(tensor) == images]
    return y, sum(tensor.nbytes for tensor in own) // images
