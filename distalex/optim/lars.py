"""LARS (You, Gitman, Ginsburg 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Norms = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""The norms of tensors, such as gradients, that belong to these parameters."""


def _local_norms(parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(tensors)))


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose rate is scaled layer by layer (You, Gitman, Ginsburg 2017, arXiv:1708.03888, Algorithm 1).

    The local rate of a weight is trust * |w| / (|g| + decay * |w|); parameters without decay (biases, norms) are not
    adapted, as is usual.
    """

    def __init__(self, parameters: Any, lr: float, momentum: float, weight_decay: float, trust: float, norms: Norms = _local_norms) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})
        self.norms = norms

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        rates = self._local_rates()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter in rates:
                    update = update.add(parameter, alpha=group["weight_decay"]).mul_(rates[parameter])
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                state["momentum_buffer"].mul_(group["momentum"]).add_(update * group["lr"])
                parameter.sub_(state["momentum_buffer"])

    def _local_rates(self) -> dict[Tensor, Tensor]:
        """Of the parameters that decay."""
        groups = {
            parameter: group
            for group in self.param_groups
            if group["weight_decay"]
            for parameter in group["params"]
            if parameter.grad is not None
        }
        if not groups:
            return {}
        decaying = list(groups)
        weights = self.norms(decaying, decaying)
        gradients = self.norms(decaying, [parameter.grad for parameter in decaying if parameter.grad is not None])
        rates = {}
        for (parameter, group), weight, gradient in zip(groups.items(), weights, gradients, strict=True):
            rate = group["trust"] * weight / (gradient + group["weight_decay"] * weight)
            rates[parameter] = torch.where((weight > 0) & (gradient > 0), rate, 1.0)
        return rates
