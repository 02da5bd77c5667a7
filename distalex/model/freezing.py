"""Layers that keep their weights."""

from __future__ import annotations

from distalex.config.schema import Names
from distalex.errors import UserError
from distalex.model.network import Network


def freeze(net: Network, layers: Names) -> None:
    """Exclude the parameters of `layers` from training, in place.

    Raises:
        UserError: a name is no layer with parameters, or no layer would be left to train.
    """
    known = {name.rpartition(".")[0] for name, _ in net.named_parameters()}
    for layer in layers:
        if layer not in known and not any(name.startswith(f"{layer}.") for name in known):
            raise UserError(f"model.freeze={layer}: no such layer; there are {', '.join(sorted(known))}")
        net.get_submodule(layer).requires_grad_(False)
    if layers and not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError(f"model.freeze={','.join(layers)}: no layer is left to train; remove {net.classifier} at least")
