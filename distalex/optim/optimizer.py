"""Optimizers, what each parameter's learning rate is, schedules, and the moving average of weights."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from distalex.config.optim import OptimConfig
from distalex.errors import UserError
from distalex.model.batch_norm import BatchNorm
from distalex.optim.lars import LARS
from distalex.parallel.shards import Shards


def build_optimizer(net: nn.Module, config: OptimConfig, shards: Shards) -> torch.optim.Optimizer:
    """The optimizer over the parameters of `net` that learn, one group for each learning rate and decay.

    `shards` says which of them are divided among processes.

    Raises UserError where `optim.layer_lr` names no layer.
    """
    layers = {name for name, module in net.named_modules() if any(True for _ in module.parameters(recurse=False))}
    for layer in config.layer_lr:
        if layer not in layers:
            raise UserError(f"optim.layer_lr={layer}: no such layer; there are {', '.join(sorted(layers))}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(_rate_and_decay(name, net, config), []).append(parameter)
    parameters = [
        {"params": members, "lr": config.lr * rate, "rate": rate, "weight_decay": decay} for (rate, decay), members in groups.items()
    ]
    match config.name:
        case "sgd":
            return _eager(torch.optim.SGD)(
                parameters,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov and config.momentum > 0,
                fused=True,
            )
        case "adam":
            return _eager(torch.optim.Adam)(parameters, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)  # type: ignore[arg-type]
        case "adamw":
            return _eager(torch.optim.AdamW)(parameters, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)  # type: ignore[arg-type]
        case "lars":
            names = {parameter: name for name, parameter in net.named_parameters()}

            def norms(parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
                """Of whole parameters, where this process has some rows of them."""
                return shards.norms({names[parameter]: tensor for parameter, tensor in zip(parameters, tensors, strict=True)})  # type: ignore[index]

            return LARS(parameters, config.lr, config.momentum, config.weight_decay, config.trust, norms)


@cache
def _eager(kind: type[torch.optim.Optimizer]) -> Any:
    """PyTorch's optimizer `kind`, which nothing compiles here: it then does not import the compiler, for two seconds, to tell it so."""
    step = inspect.unwrap(kind.step)

    def plain_step(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    for method in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        inner = inspect.unwrap(getattr(torch.optim.Optimizer, method))
        inner.__dict__.setdefault("__dynamo_disable", inner)  # where torch._compile looks first
    return type(kind.__name__, (kind,), {"step": plain_step})


def _rate_and_decay(name: str, net: nn.Module, config: OptimConfig) -> tuple[float, float]:
    """Multiple of the learning rate, and weight decay, of the parameter `name`."""
    layer, _, kind = name.rpartition(".")
    rate = config.layer_lr.get(layer, 1.0)
    if isinstance(net.get_submodule(layer), BatchNorm):
        return rate, config.weight_decay if config.norm_decay else 0.0
    if kind == "bias":
        return rate * config.bias_lr, config.weight_decay if config.bias_decay else 0.0
    return rate, config.weight_decay
