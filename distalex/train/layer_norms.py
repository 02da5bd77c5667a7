"""Norms of each layer's gradients, weights and updates.

Use them to spot a learning rate that is too high or a layer that does not train.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalex.parallel.shards import Shards


class LayerNorms:
    """Euclidean norms, over a layer's weights and biases, around one optimizer step.

    They are computed over the whole layer, also when it is sharded.
    """

    @torch.no_grad()
    def __init__(self, net: nn.Module, shards: Shards) -> None:
        """Measure the gradients and copy the weights, just before the step. Waits for other columns, not for the device."""
        self.shards = shards
        self.parameters = {name: parameter for name, parameter in shards.parameters(net).items() if parameter.grad is not None}
        self.before = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.gradients = self._by_layer({name: parameter.grad for name, parameter in self.parameters.items() if parameter.grad is not None})

    @torch.no_grad()
    def after_step(self) -> None:
        """Measure weights and updates, just after the step, and free the copy."""
        self.weights = self._by_layer({name: parameter.detach() for name, parameter in self.parameters.items()})
        self.updates = self._by_layer({name: parameter.detach() - self.before[name] for name, parameter in self.parameters.items()})
        self.before.clear()

    def numbers(self) -> dict[str, dict[str, float]]:
        """`gradients`, `weights` and `updates`, each by layer. Reads from the device."""
        norms = {"gradients": self.gradients, "weights": self.weights, "updates": self.updates}
        layers = self._layers()
        return {kind: dict(zip(layers, values.tolist(), strict=True)) for kind, values in norms.items()}

    def _layers(self) -> list[str]:
        return list(dict.fromkeys(name.rpartition(".")[0] for name in self.parameters))

    def _by_layer(self, tensors: dict[str, Tensor]) -> Tensor:
        layers = self._layers()
        squares = self.shards.norms(tensors).square()
        places = torch.tensor([layers.index(name.rpartition(".")[0]) for name in tensors], device=squares.device)
        return torch.zeros(len(layers), device=squares.device).index_add(0, places, squares).sqrt()
