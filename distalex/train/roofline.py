"""A roofline model: the least time that the arithmetic and the memory traffic of a layer take on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DeviceSpeed:
    """Measured speeds of this process on its device."""

    flops: float
    """FLOP/s in matrix products."""
    bandwidth: float
    """Bytes per second of memory, read and written."""


@dataclass
class Work:
    """The least work of a layer or an optimizer, however it is implemented."""

    flops: float = 0.0
    """Floating-point operations."""
    traffic: float = 0.0
    """Bytes read or written, each number once."""

    def add(self, other: Work) -> None:
        """Add `other` to this, in place."""
        self.flops += other.flops
        self.traffic += other.traffic

    def share(self, speed: DeviceSpeed, seconds: float) -> tuple[float, str]:
        """The share of `seconds` that this work takes at least, and the name of the limit, arithmetic or memory, that sets it."""
        computing, moving = self.flops / speed.flops, self.traffic / speed.bandwidth
        least, limit = (computing, "the matmul peak") if computing >= moving else (moving, "the memory bandwidth")
        return least / max(seconds, 1e-12), limit


def forward_work(layer: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Work:
    """A layer's forward pass: read inputs and weights, write outputs.

    `inputs` and `outputs` are one tensor, or one for each column. Weights count in the dtype of the outputs.
    """
    return Work(2.0 * _macs(layer, outputs), _bytes(inputs) + _bytes(outputs) + _weight_bytes(layer, outputs))


def backward_work(layer: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Work:
    """A layer's backward pass, which computes gradients of weights that are not frozen and of inputs that require one.

    It reads the outputs' gradients and, for the weights' gradients, the inputs; for the inputs' gradients it reads the weights. It
    writes the gradients it computes. Arguments as for `forward_work`.
    """
    learns = any(parameter.requires_grad for parameter in layer.parameters())
    passes_on = any(tensor.requires_grad for tensor in inputs)
    traffic = _bytes(outputs) + sum(parameter.nbytes for parameter in layer.parameters() if parameter.requires_grad)
    if learns or not _weight_bytes(layer, outputs):
        traffic += _bytes(inputs)
    if passes_on:
        traffic += _bytes(inputs) + _weight_bytes(layer, outputs)
    return Work(2.0 * (learns + passes_on) * _macs(layer, outputs), traffic)


def update_work(optimizer: torch.optim.Optimizer) -> Work:
    """An optimizer's step: read weights, gradients and the optimizer's state, write weights and state."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    states = [state for weight in weights for state in _tensors(optimizer.state.get(weight, {}).values()) if state.shape == weight.shape]
    return Work(0.0, 3.0 * sum(weight.nbytes for weight in weights) + 2.0 * sum(state.nbytes for state in states))


def _macs(layer: nn.Module, outputs: Sequence[Tensor]) -> int:
    """Multiply-adds of a convolution or a fully connected layer; 0 for other layers."""
    if isinstance(layer, nn.Conv2d):
        return sum(tensor.numel() for tensor in outputs) * layer.weight[0].numel()
    return len(outputs[0]) * layer.weight.numel() if isinstance(layer, nn.Linear) else 0


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _weight_bytes(layer: nn.Module, outputs: Sequence[Tensor]) -> int:
    return sum(parameter.numel() for parameter in layer.parameters()) * outputs[0].element_size()


def _tensors(values: Iterable[object]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]
