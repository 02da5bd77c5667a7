"""Load initial weights from another run or from a file of weights."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalex.config.config import Config
from distalex.config.loading import TORCHVISION
from distalex.config.model import ModelConfig
from distalex.config.schema import validate
from distalex.errors import UserError
from distalex.model.fitting import differing_options, options_that_fit
from distalex.model.layer_names import Found, find_layers
from distalex.model.network import Network
from distalex.model.released import from_released, released_prefix
from distalex.runs.checkpoint import FORMAT, are_finite, find
from distalex.runs.published import describe_file
from distalex.runs.weights_file import OF_TORCH, WeightsFile, converting, read_weights_file

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Source:
    """Weights as a file has them, and what it says of the network that they belong to."""

    tensors: dict[str, Tensor]
    """By this network's names."""
    taken_from: str
    """Where in the file they stand and whose names they have; empty for a state dict with our names."""
    left: Counter[str]
    """How many other tensors the file has, by the first part of their names."""
    beside: tuple[str, ...] = ()
    """Names of those among them that stand beside the ones taken."""
    are_torchvisions: bool = False
    """Whether the file has torchvision's names of layers."""
    classes: tuple[str, ...] | None = None
    """Names of the classifier's outputs, where the file has them."""
    network: ModelConfig | None = None
    """Options of the network, where the file has them."""
    normalize: str | None = None
    """`data.normalize` that they were trained with, where it is known."""


def load_weights(net: Network, config: Config, classes: Sequence[str], say: Callable[[str], None], file: str | None = None) -> None:
    """Load `model.weights` into `net`: those of a run, a checkpoint, or a file that another program wrote.

    What was taken, what was left and what was re-initialised is reported with `say`: the classifier where the file has other classes,
    by name where it names them, else by number, and fully connected layers that it lacks. So are options of the network or the images
    that the weights were trained with and this run has not. `classes`: names of this run's classes. `file`: the file that the place
    means, where it is known (see `weights_place`).

    Raises UserError where the place holds no weights or those of another network; names the layer and the options that fit.
    """
    place = str(config.model.weights)
    path = _find(file or place, config.runs_dir)
    source = _read(path, place, net)
    own = net.state_dict()
    fresh = _re_initialised(net, source, classes)
    kept = {name: tensor for name, tensor in own.items() if name.rpartition(".")[0] not in fresh}
    counts = [name for name, tensor in kept.items() if not tensor.is_floating_point()]  # of batches, which older files lack
    kept = {name: tensor for name, tensor in kept.items() if name not in counts}
    for name, tensor in kept.items():
        _require_fit(name, tensor, source, net, config)
    taken = {name: source.tensors[name].float() for name in kept}
    if not are_finite(taken.values()):
        raise UserError(f"model.weights={place}: has numbers that are not finite; pass weights from before training failed")
    counted = {name: source.tensors[name] for name in counts if name in source.tensors}
    net.load_state_dict({**own, **counted, **taken})
    left = ", ".join(f"{name} ({count})" for name, count in source.left.most_common(5))
    of_file = "" if Path(os.path.expanduser(place)) == path else f" from {path}"
    say(f"model.weights={place}: {len(taken)} tensors taken{of_file}{source.taken_from}" + f"; left in the file: {left}" * bool(left))
    for layer, reason in reversed(fresh.items()):
        say(f"{layer} re-initialised: {place} {reason}")
    if net.classifier not in fresh and source.classes is None:
        say(f"{net.classifier} kept: {place} has {net.classes} classes, as this run, and does not name them")
    _report_other_options(source, config, say)


def describe_place(place: str, runs_dir: str) -> str:
    """Return a line on where the weights of `model.weights` lie. Raises UserError where there are none; downloads nothing."""
    if place == TORCHVISION:
        return f"weights of torchvision's AlexNet: {describe_file()}"
    return f"weights: {_find(place, runs_dir)}"


def _find(place: str, runs_dir: str) -> Path:
    """The file of a place: itself, or the best checkpoint of a run."""
    if "://" in place:
        raise UserError(f"model.weights={place}: is an address; fetch the file first, e.g. with `curl -LO`, and pass its path")
    path = Path(os.path.expanduser(place))
    is_run = (path / "checkpoints").is_dir() or (Path(runs_dir) / place / "checkpoints").is_dir()
    if path.is_dir() and not is_run and path.name != "checkpoints":
        if record := next(path.rglob("data.pkl"), None):
            way = f"pack it again: (cd {record.parent.parent} && zip -0 -r weights.pth {record.parent.name}), and pass weights.pth"
            raise UserError(f"model.weights={place}: is a file of torch.save that was unpacked; {way}")
        files = sorted(file.name for file in path.iterdir() if file.is_file())
        raise UserError(f"model.weights={place}: a folder, and not a run's; pass the file of weights in it ({', '.join(files[:5])})")
    return find(str(path), runs_dir, best=True)


def _read(path: Path, place: str, net: Network) -> Source:
    """Read a file and find the tensors of `net` in it by name. Raises UserError where it has none, or several networks."""
    file = read_weights_file(path)
    content, tensors = file.content, file.tensors()
    if _is_checkpoint(content):
        trained, average = content["config"], bool(content.get("average"))
        names = tuple(content["classes"]) if "classes" in content else None
        taken_from = " (the moving average of its weights)" if average else ""
        network = validate(ModelConfig, trained["model"], {})
        weights = content["average"] if average else content["model"]
        return Source(weights, taken_from, Counter(), classes=names, network=network, normalize=trained["data"]["normalize"])
    if (prefix := released_prefix(tensors)) is not None:
        columns = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        return Source(from_released(columns, place), " (the released code's two columns)", Counter(), normalize="paper")
    found = find_layers(tensors, net.state_dict(), net.is_given)
    if len(found) > 1 and not all(_are_equal(tensors, found[0], other) for other in found[1:]):
        places = " and ".join(one.prefix or "the top" for one in found)
        raise UserError(f"model.weights={place}: holds several networks, in {places}; save the state dict of one of them alone")
    if not found:
        raise UserError(f"model.weights={place}: {_without_layers(file, tensors, path, net)}")
    return _described(file, tensors, found[0], net)


def _is_checkpoint(content: Any) -> bool:
    """Whether a file's content is a checkpoint of distalex."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    config = content.get("config")
    return isinstance(config, dict) and {"model", "data"} <= config.keys() and isinstance(content.get("model"), dict)


def _are_equal(tensors: dict[str, Tensor], one: Found, other: Found) -> bool:
    """Whether two places in a file hold the same numbers."""
    return one.names.keys() == other.names.keys() and all(tensors[one.names[own]].equal(tensors[other.names[own]]) for own in one.names)


def _without_layers(file: WeightsFile, tensors: dict[str, Tensor], path: Path, net: Network) -> str:
    """Say what a file holds that has no tensor with a name of the network's, and what to do."""
    if (keys := file.pickled_module()) is not None:
        where = "".join(f"[{key!r}]" for key in keys)
        return f"holds a whole pickled network; {converting(path, f'{OF_TORCH}{where}.state_dict()')}"
    if not tensors:
        return "holds no tensors in a dict; pass what torch.save(net.state_dict(), FILE) wrote"
    if net.is_given:
        ours = ", ".join([*net.state_dict()][:4])
        return f"its tensors are named {', '.join([*tensors][:4])}, …, and this network's {ours}, …; pass weights of this network"
    return f"its tensors are named {', '.join([*tensors][:4])}, …, and AlexNet's conv1.weight or features.0.weight, …; pass an AlexNet"


def _described(file: WeightsFile, tensors: dict[str, Tensor], found: Found, net: Network) -> Source:
    """The tensors of one place in a file, by our names, with what the file says of them."""
    prefix = f"the moving average {found.prefix}" if found.is_average else found.prefix
    words = [word for word in (prefix, "torchvision's names" * found.are_torchvisions) if word]
    used = {found.names[name] for name in net.state_dict() if name in found.names}
    others = [name for name in tensors if name not in used]
    tops = {name.partition(".")[0] for name in used}
    beside = tuple(name for name in others if not found.prefix or name.partition(".")[0] in tops)
    left = Counter(name.partition(".")[0] for name in others)
    ours = {own: tensors[name] for own, name in found.names.items()}
    classes, network, normalize = _facts_of_export(file)
    last = ours.get(f"{net.classifier}.bias")
    if (found.are_torchvisions or net.is_given) and last is not None and last.shape == (IMAGENET_CLASSES,):
        normalize = "imagenet"  # torchvision's weights, and those of PyTorch's ImageNet example
    return Source(ours, f" ({', '.join(words)})" * bool(words), left, beside, found.are_torchvisions, classes, network, normalize)


def _facts_of_export(file: WeightsFile) -> tuple[tuple[str, ...] | None, ModelConfig | None, str | None]:
    """Classes, network and `data.normalize` that a safetensors file of `export` names; None for what another program wrote."""
    facts = file.facts
    if not {"source", "classes", "network", "normalize"} <= facts.keys():
        return None, None, None
    return tuple(json.loads(facts["classes"])), validate(ModelConfig, json.loads(facts["network"]), {}), facts["normalize"]


def _re_initialised(net: Network, source: Source, classes: Sequence[str]) -> dict[str, str]:
    """Layers that keep their initial weights, with the reason: the classifier of other classes, the last layers that the file lacks."""
    fresh: dict[str, str] = {}
    own = net.state_dict()
    for layer in reversed(net.linear_layers or (net.classifier,)):
        if any(name in source.tensors for name in own if name.rpartition(".")[0] == layer):
            break
        if source.beside and layer != net.classifier:
            break  # they may be that layer's, in a form that is not known
        fresh[layer] = "has no such layer"
    weight = source.tensors.get(f"{net.classifier}.weight")
    if net.classifier in fresh or weight is None:
        return fresh
    if weight.dim() and len(weight) != net.classes:
        fresh[net.classifier] = f"has {len(weight)} classes, this run {net.classes}"
    elif source.classes is not None and source.classes != tuple(classes):
        theirs, ours = next(pair for pair in zip(source.classes, classes, strict=True) if pair[0] != pair[1])
        fresh[net.classifier] = f"has other classes, e.g. {theirs} where this run has {ours}"
    return fresh


def _require_fit(name: str, tensor: Tensor, source: Source, net: Network, config: Config) -> None:
    """Raise UserError where the source has no such tensor, or one of another kind or shape."""
    place, theirs = config.model.weights, source.tensors.get(name)
    if theirs is None:
        present = ", ".join([*(source.beside or source.tensors)][:4])
        raise UserError(f"model.weights={place}: has no {name}, but {present}, …; {_options_that_fit(source, net, config)}")
    if theirs.is_quantized or not theirs.is_floating_point() or theirs.layout is not torch.strided:
        kind = f"{theirs.dtype} numbers, {theirs.layout}"
        raise UserError(f"model.weights={place}: {name} holds {kind}; pass weights from before they were quantized or made sparse")
    if theirs.shape != tensor.shape:
        shapes = f"{tuple(theirs.shape)}, this network {tuple(tensor.shape)}"
        raise UserError(f"model.weights={place}: {name} has shape {shapes}; {_options_that_fit(source, net, config)}")


def _options_that_fit(source: Source, net: Network, config: Config) -> str:
    """Say which options give the network that the weights belong to."""
    if source.network:
        return f"it fits with {differing_options(source.network, config.model)}"
    if net.is_given:
        return f"pass weights of {config.model.name}"
    shapes = {name: tuple(tensor.shape) for name, tensor in source.tensors.items()}
    options = options_that_fit(shapes, config.model, net.image_size, source.are_torchvisions)
    return f"it fits with {options}" if options else "no options of distalex give a network of its shapes; pass weights of an AlexNet"


def _report_other_options(source: Source, config: Config, say: Callable[[str], None]) -> None:
    """Report options that the weights were trained with and this run has not."""
    place, normalize = config.model.weights, config.data.normalize
    if source.network and (options := differing_options(source.network, config.model)):
        say(f"model.weights={place}: trained with {options}, which this run has not")
    if source.normalize not in (None, normalize):
        say(
            f"model.weights={place}: trained with data.normalize={source.normalize}, not {normalize}; "
            f"use --data.normalize={source.normalize}"
        )
