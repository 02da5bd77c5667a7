"""The exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import nn

from distalex.parallel.shards import Shards


class MovingAverage:
    """An exponential moving average of a network's state dict, in `weights` by name.

    Args:
        net: the network with its first weights.
        decay: share of the average that each update keeps, between 0 and 1.
        shards: which rows of which parameters this process has.
    """

    def __init__(self, net: nn.Module, decay: float, shards: Shards) -> None:
        self.decay, self.shards = decay, shards
        self.weights = {name: value.detach().clone() for name, value in self.shards.tensors(net).items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the current weights of `net`, by 1 - decay."""
        current, moving = self.shards.tensors(net), {}
        for name, value in self.weights.items():
            if value.is_floating_point():
                moving[name] = value
            else:
                value.copy_(current[name])  # a count
        torch._foreach_lerp_(list(moving.values()), [current[name] for name in moving], 1.0 - self.decay)

    def swap(self, net: nn.Module) -> None:
        """Exchange the weights of `net` with the average, in place; a second call undoes it."""
        current = self.shards.tensors(net)
        for name, value in {value.data_ptr(): (name, value) for name, value in current.items()}.values():  # shared ones once
            held = value.clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(held)
