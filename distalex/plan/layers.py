"""The network as a table of costs: parameters, multiplications, numbers read, handed on and kept, layer by layer.

Everything is read off the network itself, built on the meta device, where shapes are real and numbers are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from distalex.config.model import ModelConfig
from distalex.model.alexnet import AlexNet


@dataclass(frozen=True)
class Layer:
    """One of the layers with weights, with what follows it (ReLU, normalisation, pooling, dropout). Counts are of one image."""

    name: str
    reads: str
    """`image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    rows: int
    """Output channels or units: dim 0 of the weight, which columns divide."""
    row_parameters: int
    """Weights, bias and normalisation of one row."""
    macs: int
    """Multiplications and additions of the forward pass."""
    inputs: int
    """Numbers that it reads."""
    outputs: int
    """Numbers that it hands on."""
    kept: int
    """Bytes kept for the backward pass besides inputs and outputs."""

    @property
    def convolves(self) -> bool:
        return self.name.startswith("conv")

    @property
    def parameters(self) -> int:
        return self.rows * self.row_parameters


@lru_cache(maxsize=16)
def layers_of(config: ModelConfig, classes: int, image_size: int, precision: str) -> tuple[Layer, ...]:
    """The layers of the network that `config` names, computing in `precision` (fp32 or bf16)."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device("meta"):
        net = AlexNet(config, classes, image_size).to(dtype)
        x = torch.empty(2, 3, image_size, image_size, dtype=dtype)
        layers = []
        for name, stage in stages(net).items():
            y, kept = _run(stage, x)
            layers.append(_layer(name, stage, net.table[name].reads if name in net.table else "both", x, y, kept))
            x = y
    return tuple(layers)


def stages(net: AlexNet) -> dict[str, nn.Sequential]:
    """The forward pass of `net` cut before each layer with parameters, in order."""
    found = {name: [net.get_submodule(name), net.get_submodule(f"after{number}")] for number, name in enumerate(net.table, 1)}
    found[[*found][-1]] += [net.pool, nn.Flatten(), net.drop5]
    for name, layer, drop in (("fc6", net.fc6, net.drop6), ("fc7", net.fc7, net.drop7)):
        if layer is not None:
            found[name] = [layer, net.activation, drop]
    found["fc8"] = [net.fc8]
    return {name: nn.Sequential(*modules) for name, modules in found.items()}


def _layer(name: str, stage: nn.Sequential, reads: str, x: Tensor, y: Tensor, kept: int) -> Layer:
    layer = stage[0]
    weight = layer.get_parameter("weight")
    positions = layer(x)[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
    return Layer(
        name,
        reads,
        rows=len(weight),
        row_parameters=sum(parameter.numel() for parameter in stage.parameters()) // len(weight),
        macs=weight.numel() * positions,
        inputs=x[0].numel(),
        outputs=y[0].numel(),
        kept=kept,
    )


def _run(stage: nn.Sequential, x: Tensor) -> tuple[Tensor, int]:
    """Output of `stage`, and the bytes an image that autograd keeps besides input, output and whole-batch tensors."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    x = x.detach().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = stage(x)
    elsewhere = {tensor.untyped_storage()._cdata for tensor in (x, y, *stage.parameters())}
    images = len(x)
    # A tensor whose first dimension is not the batch, such as normalisation's band of ones, does not grow with it.
    own = [tensor for storage, tensor in kept.items() if storage not in elsewhere and len(tensor) == images]
    return y, sum(tensor.nbytes for tensor in own) // images
