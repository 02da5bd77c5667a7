"""Which options of the network differ from those of the weights that it is to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from distalex.config.choices import declared_in, facts_in
from distalex.config.model import NETWORKS, OF_TRAINING, ModelConfig
from distalex.config.schema import plain_text, validate
from distalex.model.network import build_network


def differing_options(theirs: ModelConfig, ours: ModelConfig) -> str:
    """Format, as typed, the options that turn the network `ours` into `theirs`; empty where both compute the same."""
    if theirs.is_own or ours.is_own:
        if theirs.name != ours.name:
            return f"--model.name={theirs.name}"
        return f"another text of {theirs.name}" if theirs.code != ours.code else ""
    defaults, own_defaults = ModelConfig(name=theirs.name), ModelConfig(name=ours.name)
    words = [f"--model.name={theirs.name}"] if theirs.name != ours.name else []
    for option in type(ours).model_fields:
        given = getattr(ours, option) != getattr(own_defaults, option)
        stays = getattr(ours if given else defaults, option)  # once the name is changed
        if option not in ("name", *OF_TRAINING) and getattr(theirs, option) != stays:
            words.append(f"--model.{option}={plain_text(getattr(theirs, option))}")
    return " ".join(words)


def options_that_fit(shapes: Mapping[str, tuple[int, ...]], ours: ModelConfig, image_size: int, torchvisions: bool) -> str | None:
    """Format, as typed, the options that turn `ours` into a network whose parameters, besides the classifier's, have these `shapes`.

    Of several such networks the one that needs least is taken; with `torchvisions` only those with the layers of torchvision's are
    tried. Returns None where there is none.
    """
    fitting = []
    for name in (name for name, one in declared_in(NETWORKS).items() if one.facts.get("TORCHVISION_KEYS") or not torchvisions):
        base = ours if name == ours.name else ModelConfig(name=name)
        try:
            config = validate(ModelConfig, {**base.model_dump(), **_read_from(shapes, name)}, {})
            with torch.device("meta"):
                net = build_network(config, 2, image_size)
        except (KeyError, ValueError):  # it lacks a layer of that network, or no options give its widths
            continue
        wanted = {key: tuple(value.shape) for key, value in net.state_dict().items() if not key.startswith(f"{net.classifier}.")}
        if wanted.items() <= shapes.items():
            fitting.append(differing_options(config, ours))
    return min(fitting, key=len, default=None)


def _read_from(shapes: Mapping[str, tuple[int, ...]], name: str) -> dict[str, Any]:
    """Return the options of the network `name` that decide shapes, as these `shapes` show them."""
    facts = facts_in(NETWORKS, name)
    convolutions = {key.removesuffix(".weight"): shape for key, shape in shapes.items() if len(shape) == 4}
    hidden = {layer: shapes[f"{layer}.weight"][0] for layer in ("fc6", "fc7") if f"{layer}.weight" in shapes}
    found: dict[str, Any] = {**dict.fromkeys(facts.get("OPTIONAL_LAYERS", ()), 0), **hidden}
    if "channels" in facts.get("OPTIONS", ()):
        found |= {"channels": [shape[0] for shape in convolutions.values()], "kernels": [shape[2] for shape in convolutions.values()]}
        found |= {"pooled": [layer for layer in ModelConfig().pooled if layer in convolutions]}
        found |= {"batch_norm": any(key.endswith(".variance") for key in shapes)}
    if "width" in facts.get("OPTIONS", ()):
        groups, before = {}, "conv1"
        for layer, shape in list(convolutions.items())[1:]:
            groups[layer], before = convolutions[before][0] // shape[1], layer
        columns = max(groups.values(), default=1)
        found |= {"columns": columns, "width": convolutions["conv1"][0] / facts["CONVOLUTIONS"]["conv1"][0]}
        if columns > 1:
            found |= {"exchange": [layer for layer, count in groups.items() if count == 1]}
        found |= {"without": [layer for layer in facts["CONVOLUTIONS"] if layer not in convolutions]}
    return found
