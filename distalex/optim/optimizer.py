"""The optimizer that a config names, and each parameter's learning rate and weight decay.

Each file of `optim/optimizers/` declares one optimizer:
- its docstring, the first paragraph of which `--help` prints;
- `UPDATE_BYTES`, bytes of memory that a step reads and writes for each parameter, as it is implemented, and `state_bytes(config)`,
  bytes of optimizer state for each parameter: the planner's estimates use both;
- `build(groups, config, norms)`, which returns the torch.optim.Optimizer over parameter groups with `params`, `lr`, `lr_multiple` and
  `weight_decay`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn

from distalex.config.optim import OptimConfig
from distalex.errors import UserError
from distalex.model.batch_norm import BatchNorm
from distalex.optim.gradients import norms_of
from distalex.parallel.shards import Shards


def find_optimizer(name: str) -> Any:
    """Import the file of `optim/optimizers/` that declares the optimizer `name`."""
    return import_module(f"distalex.optim.optimizers.{name}")


def build_optimizer(net: nn.Module, config: OptimConfig, shards: Shards) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters of `net`, one parameter group for each learning rate and weight decay.

    `shards` says which parameters are divided among processes.

    Raises:
        UserError: `optim.layer_lr` names a layer that `net` lacks.
    """
    layers = {name for name, module in net.named_modules() if any(True for _ in module.parameters(recurse=False))}
    for layer in config.layer_lr:
        if layer not in layers:
            raise UserError(f"optim.layer_lr={layer}: no such layer; there are {', '.join(sorted(layers))}")
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in shards.parameters(net).items():
        if parameter.requires_grad:
            members.setdefault(_rate_and_decay(name, net, config), []).append(parameter)
    groups = [{"params": of, "lr": config.lr * rate, "lr_multiple": rate, "weight_decay": decay} for (rate, decay), of in members.items()]
    return find_optimizer(config.name).build(groups, config, norms_of(net, shards))


def _rate_and_decay(name: str, net: nn.Module, config: OptimConfig) -> tuple[float, float]:
    """Return the learning rate's multiple and the weight decay of the parameter `name`."""
    layer, _, kind = name.rpartition(".")
    rate = config.layer_lr.get(layer, 1.0)
    if isinstance(net.get_submodule(layer), BatchNorm):
        return rate, config.weight_decay if config.norm_decay else 0.0
    if kind == "bias":
        return rate * config.bias_lr, config.weight_decay if config.bias_decay else 0.0
    return rate, config.weight_decay
