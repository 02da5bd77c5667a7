"""The network as a table of costs: parameters, multiplications, numbers read, handed on and kept, layer by layer.

Everything is read off the network itself, built on the meta device, where shapes are real and numbers are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from distalex import config
from distalex.model import ONE_TOWER, PAPER, AlexNet


@dataclass(frozen=True)
class Layer:
    """One of the eight layers with what follows it (ReLU, normalisation, pooling, dropout). Counts are of one picture."""

    name: str
    reads: str
    """`image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    rows: int
    """Output channels or units: dim 0 of the weight, which columns divide."""
    row_parameters: int
    """Weights and bias of one row."""
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
def layers_of(options: config.Model, classes: int, image_size: int, precision: str) -> tuple[Layer, ...]:
    """The layers of the network that `options` names, computing in `precision` (fp32 or bf16)."""
    table = PAPER if options.name == "paper" else ONE_TOWER
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device("meta"):
        net = AlexNet(options, classes, image_size).to(dtype)
        x = torch.empty(2, 3, image_size, image_size, dtype=dtype)
        layers = []
        for name, stage in stages(net).items():
            y, kept = _run(stage, x)
            layers.append(_layer(name, stage[0], table[name].reads if name in table else "both", x, y, kept))
            x = y
    return tuple(layers)


def stages(net: AlexNet) -> dict[str, nn.Sequential]:
    """The forward pass of `net` cut before each layer with parameters, in order."""
    return {
        "conv1": nn.Sequential(net.conv1, net.after1),
        "conv2": nn.Sequential(net.conv2, net.after2),
        "conv3": nn.Sequential(net.conv3, net.after3),
        "conv4": nn.Sequential(net.conv4, net.after4),
        "conv5": nn.Sequential(net.conv5, net.after5, net.pool, nn.Flatten(), net.drop5),
        "fc6": nn.Sequential(net.fc6, nn.ReLU(inplace=True), net.drop6),
        "fc7": nn.Sequential(net.fc7, nn.ReLU(inplace=True), net.drop7),
        "fc8": nn.Sequential(net.fc8),
    }


def _layer(name: str, layer: nn.Module, reads: str, x: Tensor, y: Tensor, kept: int) -> Layer:
    weight = layer.get_parameter("weight")
    positions = layer(x)[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
    return Layer(
        name,
        reads,
        rows=len(weight),
        row_parameters=weight[0].numel() + 1,
        macs=weight.numel() * positions,
        inputs=x[0].numel(),
        outputs=y[0].numel(),
        kept=kept,
    )


def _run(stage: nn.Sequential, x: Tensor) -> tuple[Tensor, int]:
    """Output of `stage`, and the bytes a picture that autograd keeps besides input, output and whole-batch tensors."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    x = x.detach().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = stage(x)
    elsewhere = {tensor.untyped_storage()._cdata for tensor in (x, y, *stage.parameters())}
    pictures = len(x)
    # A tensor whose first dimension is not the batch, such as normalisation's band of ones, does not grow with it.
    own = [tensor for storage, tensor in kept.items() if storage not in elsewhere and len(tensor) == pictures]
    return y, sum(tensor.nbytes for tensor in own) // pictures
