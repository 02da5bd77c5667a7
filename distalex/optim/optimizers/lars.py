"""SGD with momentum and a learning rate for each layer, for large batches (LARS: You, Gitman & Ginsburg 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distalex.config.optim import OptimConfig
from distalex.optim.gradients import Norms

UPDATE_BYTES = 68  # for each parameter: norms 8, weight decay 12, local rate 8, momentum 8, rate 8, sum 12, update 12; nothing is fused


def state_bytes(config: OptimConfig) -> int:
    """Bytes of optimizer state for each parameter: its momentum."""
    return 4


def build(groups: list[dict[str, Any]], config: OptimConfig, norms: Norms) -> torch.optim.Optimizer:
    """Build LARS over parameter groups."""
    return LARS(groups, config.lr, config.momentum, config.weight_decay, config.trust, norms)


def _local_norms(parameters: list[Tensor], tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors))


class LARS(torch.optim.Optimizer):
    """LARS (arXiv:1708.03888, Algorithm 1).

    The local learning rate of a weight w with gradient g is trust * |w| / (|g| + decay * |w|). Parameters without weight decay
    (biases, normalisation) keep the global rate, as is usual.

    Args:
        parameters: parameters or parameter groups.
        lr: global learning rate.
        momentum: decay of the momentum buffer.
        weight_decay: L2 penalty of groups that set none.
        trust: trust coefficient.
        norms: Euclidean norms of whole parameters, where this process holds shards of them; default: of the tensors as they are.
    """

    def __init__(self, parameters: Any, lr: float, momentum: float, weight_decay: float, trust: float, norms: Norms = _local_norms) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})
        self.norms = norms

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is ignored."""
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
        """Return the local learning rate of each parameter with weight decay."""
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
