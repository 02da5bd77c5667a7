"""The least time that a layer's arithmetic and memory traffic take on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Limits:
    """Of one process on its device, measured."""

    flops: float
    """A second, in matrix products."""
    traffic: float
    """Bytes a second, read and written."""


@dataclass
class Work:
    """What something has to do, however it does it."""

    flops: float = 0.0
    traffic: float = 0.0
    """Bytes that it reads or writes, each number once."""

    def add(self, other: Work) -> None:
        self.flops += other.flops
        self.traffic += other.traffic

    def share(self, limits: Limits, seconds: float) -> tuple[float, str]:
        """Which part of `seconds` the limit that binds it more would have taken, and that limit's name."""
        computing, moving = self.flops / limits.flops, self.traffic / limits.traffic
        least, name = (computing, "the matmul peak") if computing >= moving else (moving, "memory's speed")
        return least / max(seconds, 1e-12), name


def forward_work(layer: nn.Module, given: Sequence[Tensor], out: Sequence[Tensor]) -> Work:
    """Of a forward pass from `given` to `out`, each whole or in parts: read the one and the weights, write the other.

    Weights are read in the arithmetic of the output.
    """
    return Work(2.0 * _macs(layer, out), _bytes(given) + _bytes(out) + _weights(layer, out))


def backward_work(layer: nn.Module, given: Sequence[Tensor], out: Sequence[Tensor]) -> Work:
    """Of the backward pass, which computes the gradients that are wanted: of weights that are not frozen, of an input that is no image.

    It reads the output's gradient, the input again, and for the input's gradient the weights; it writes what it computes.
    """
    learns = any(parameter.requires_grad for parameter in layer.parameters())
    passes_on = any(tensor.requires_grad for tensor in given)
    traffic = _bytes(out) + sum(parameter.nbytes for parameter in layer.parameters() if parameter.requires_grad)
    if learns or not _weights(layer, out):
        traffic += _bytes(given)
    if passes_on:
        traffic += _bytes(given) + _weights(layer, out)
    return Work(2.0 * (learns + passes_on) * _macs(layer, out), traffic)


def update_work(optimizer: torch.optim.Optimizer) -> Work:
    """Of an optimizer's step: read weights, gradients and its own state, write all but the gradients."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    states = [state for weight in weights for state in _tensors(optimizer.state.get(weight, {}).values()) if state.shape == weight.shape]
    return Work(0.0, 3.0 * sum(weight.nbytes for weight in weights) + 2.0 * sum(state.nbytes for state in states))


def _macs(layer: nn.Module, out: Sequence[Tensor]) -> int:
    """Multiplications of a convolution or a fully connected layer, each with an addition; 0 of anything else."""
    if isinstance(layer, nn.Conv2d):
        return sum(tensor.numel() for tensor in out) * layer.weight[0].numel()
    return len(out[0]) * layer.weight.numel() if isinstance(layer, nn.Linear) else 0


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _weights(layer: nn.Module, out: Sequence[Tensor]) -> int:
    return sum(parameter.numel() for parameter in layer.parameters()) * out[0].element_size()


def _tensors(values: Iterable[object]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]
