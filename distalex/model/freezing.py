"""Layers by the words that options name them with, and layers that keep their weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch import nn

from distalex.config.model import ModelConfig
from distalex.config.schema import Names
from distalex.errors import UserError
from distalex.model.network import Network

WORDS = ("classifier", "first", "convolutions")
"""Names that fit every network, for its last layer, its first, and all layers with weights that are not fully connected."""


def layers_meant(net: nn.Module, word: str) -> tuple[str, ...]:
    """Return the layers of `net` that a word stands for, which may be none: the name of a layer or block, or one of WORDS."""
    layers = _layers_of(net)
    if inside := tuple(name for name in layers if name == word or name.startswith(f"{word}.")):
        return inside
    meant = {
        "classifier": lambda: [name for name in layers if name == getattr(net, "classifier", "")],
        "first": lambda: layers[:1],
        "convolutions": lambda: [name for name in layers if not isinstance(net.get_submodule(name), nn.Linear)],
    }
    return tuple(meant[word]()) if word in meant else ()


def layers_named(net: nn.Module, word: str, option: str) -> tuple[str, ...]:
    """Return the layers of `net` that a word of `option` stands for, as `layers_meant`. Raises UserError where there is none."""
    found = layers_meant(net, word)
    if not found:
        words = f"; {', '.join(WORDS)} fit every network" if word not in WORDS else ""
        raise UserError(f"{option}={word}: no such layer; there are {', '.join(sorted(_layers_of(net)))}{words}")
    return found


def _layers_of(net: nn.Module) -> list[str]:
    """Return the names of the layers with parameters of their own."""
    return [name for name, module in net.named_modules() if any(True for _ in module.parameters(recurse=False))]


def freeze(net: Network, words: Names) -> None:
    """Exclude the parameters of the layers that `words` stand for from training, in place.

    Raises:
        UserError: a word stands for no layer with parameters, or no layer would be left to train.
    """
    set_frozen(net, frozen_layers(net, words), True)
    if words and not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError(f"model.freeze={','.join(words)}: no layer is left to train; remove {net.classifier} at least")


def frozen_layers(net: Network, words: Iterable[str]) -> list[str]:
    """Return the layers that the words of `model.freeze` stand for, each once. Raises UserError."""
    return list(dict.fromkeys(layer for word in words for layer in layers_named(net, word, "model.freeze")))


def set_frozen(net: Network, layers: Collection[str], frozen: bool) -> bool:
    """Exclude the parameters of `layers` from training, or include them, in place. Returns whether that changes anything."""
    parameters = [parameter for layer in layers for parameter in net.get_submodule(layer).parameters(recurse=False)]
    changes = any(parameter.requires_grad == frozen for parameter in parameters)
    for parameter in parameters:
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None
    return changes


def are_frozen(config: ModelConfig, epoch: int) -> bool:
    """Return whether the layers of `model.freeze` keep their weights in `epoch`, counted from 0.

    Those that thaw later keep nothing worth keeping where training starts from random weights, and so they train from the beginning.
    """
    return config.thaw is None or (config.weights is not None and epoch < config.thaw)
