"""The optimizer that a config names, and each parameter's learning rate and weight decay.

Each file of `optim/optimizers/` declares one optimizer:
- its docstring, the first paragraph of which `--help` prints;
- `UPDATE_BYTES`, bytes of memory that a step reads and writes for each parameter, as it is implemented, and `state_bytes(config)`,
  bytes of optimizer state for each parameter: the planner's estimates use both;
- `build(groups, config, norms)`, which returns the torch.optim.Optimizer over parameter groups with `params`, `lr`, `lr_multiple` and
  `weight_decay`.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from distalex.config.optim import OptimConfig
from distalex.model.batch_norm import BatchNorm
from distalex.model.freezing import WORDS, layers_named
from distalex.optim.gradients import norms_of
from distalex.parallel.shards import Shards


def find_optimizer(name: str) -> Any:
    """Import the file of `optim/optimizers/` that declares the optimizer `name`."""
    return import_module(f"distalex.optim.optimizers.{name}")


def build_optimizer(net: nn.Module, config: OptimConfig, shards: Shards, thawing: Collection[str] = ()) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters of `net`, one parameter group for each learning rate and weight decay.

    `shards` says which parameters are divided among processes. Parameters of the layers `thawing`, which are to train later, are
    included; a parameter without a gradient is not updated.

    Raises:
        UserError: `optim.layer_lr` names a layer that `net` lacks.
    """
    words = sorted(config.layer_lr, key=lambda word: (word not in WORDS, word.count(".")))  # a layer's own rate comes last
    rates = {layer: config.layer_lr[word] for word in words for layer in layers_named(net, word, "optim.layer_lr")}
    config = config.model_copy(update={"layer_lr": rates})
    members: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in shards.parameters(net).items():
        thaws = name.rpartition(".")[0] in thawing  # apart, as fused SGD takes no group of which some parameters have momentum
        if parameter.requires_grad or thaws:
            members.setdefault((*_rate_and_decay(name, net, config), thaws), []).append(parameter)
    groups = [
        {"params": of, "lr": config.lr * rate, "lr_multiple": rate, "weight_decay": decay} for (rate, decay, _), of in members.items()
    ]
    return find_optimizer(config.name).build(groups, config, norms_of(net, shards))


def _rate_and_decay(name: str, net: nn.Module, config: OptimConfig) -> tuple[float, float]:
    """Return the learning rate's multiple and the weight decay of the parameter `name`."""
    layer, _, kind = name.rpartition(".")
    rate = config.layer_lr.get(layer, 1.0)
    if isinstance(net.get_submodule(layer), BatchNorm | _NormBase | nn.GroupNorm | nn.LayerNorm):
        return rate, config.weight_decay if config.norm_decay else 0.0
    if kind == "bias":
        return rate * config.bias_lr, config.weight_decay if config.bias_decay else 0.0
    return rate, config.weight_decay
