"""Layers that keep their weights."""

from __future__ import annotations

from torch import nn

from distalex.config.schema import Names
from distalex.errors import UserError


def freeze(net: nn.Module, layers: Names) -> None:
    """Let the parameters of these layers stay as they are. Raises UserError for a name that is no layer."""
    known = {name.rpartition(".")[0] for name, _ in net.named_parameters()}
    for layer in layers:
        if layer not in known:
            raise UserError(f"model.freeze={layer}: no such layer; there are {', '.join(sorted(known))}")
        net.get_submodule(layer).requires_grad_(False)
    if layers and not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError("model.freeze: every layer is frozen, so nothing would learn; leave fc8 out at least")
