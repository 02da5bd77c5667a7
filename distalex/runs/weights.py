"""Load initial weights from another run or from a file of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from distalex.config.model import ModelConfig
from distalex.config.schema import plain_text, validate
from distalex.errors import UserError
from distalex.model.network import Network
from distalex.model.released import from_released, is_released
from distalex.model.torchvision_keys import from_torchvision
from distalex.runs.checkpoint import find, read_tensors

SHAPE_OPTIONS = ("channels", "kernels", "batch_norm", "exchange", "without", "width", "columns", "fc6", "fc7")
"""Options of the network, besides its name, that decide which parameters it has and their shapes."""


def load_weights(net: Network, place: str, runs_dir: str, normalize: str, say: Callable[[str], None]) -> None:
    """Load the weights of a run, a checkpoint or a state dict (ours, torchvision's or the released code's) into `net`.

    A classifier for another number of classes is left as initialised, which is reported by `say`, as are weights that were trained with
    another `data.normalize` than `normalize`, this run's. Raises UserError where the place holds no weights, or any other weight is
    missing or has another shape.
    """
    path = find(place, runs_dir)
    content = read_tensors(path)
    weights = content.get("average") or content["model"] if isinstance(content, dict) and "model" in content else content
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"model.weights={place}: not a state dict of tensors; give a run, a checkpoint or a saved net.state_dict()")
    trained_with = "paper" if is_released(weights) else content["config"]["data"]["normalize"] if "format" in content else normalize
    if trained_with != normalize:
        say(f"model.weights={place}: trained with data.normalize={trained_with}, not {normalize}; use --data.normalize={trained_with}")
    weights = from_released(weights, place) if is_released(weights) else from_torchvision(weights)
    own = net.state_dict()
    last, classifier = f"{net.classifier}.weight", {name: value for name, value in own.items() if name.startswith(f"{net.classifier}.")}
    if last in weights and weights[last].shape != own[last].shape:
        say(f"{net.classifier} re-initialised: {place} has {len(weights[last])} classes, this run {net.classes}")
        weights = {**weights, **classifier}
    for name in own:
        if name not in weights:
            raise UserError(f"model.weights={place}: has no {name}; {_options_of(content)}")
        if weights[name].shape != own[name].shape:
            theirs, ours = tuple(weights[name].shape), tuple(own[name].shape)
            raise UserError(f"model.weights={place}: {name} has shape {theirs}, this network {ours}; {_options_of(content)}")
    net.load_state_dict({name: weights[name] for name in own})


def _options_of(content: Mapping[str, Any]) -> str:
    """Say which options give the network that the weights belong to: a checkpoint's own, where they are not its network's defaults."""
    if "format" not in content:
        return "set model.name, model.width, model.fc6 and model.fc7 to those of the network that it was trained with"
    theirs = validate(ModelConfig, content["config"]["model"], {})
    defaults = ModelConfig(name=theirs.name)
    changed = [name for name in SHAPE_OPTIONS if getattr(theirs, name) != getattr(defaults, name)]
    words = [f"--model.{name}={plain_text(getattr(theirs, name))}" for name in ("name", *changed)]
    return f"it was trained with {' '.join(words)}; use these options"
