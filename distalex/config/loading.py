"""Load a config: defaults, then a YAML file, then overrides by dotted name; a mistake is reported with its file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from distalex.config.config import Config
from distalex.config.model import OF_TRAINING
from distalex.config.own_network import replaces_options
from distalex.config.schema import NONE, Section, check_key, nearest, split_list, validate
from distalex.errors import UserError, brief

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
"""Folder of the shipped configs; in the repository a link to configs/."""


def load_config(
    config: str | Config | None = None,
    overrides: Mapping[str, Any] | None = None,
    without: Iterable[str] = (),
    place: str = "command line",
) -> Config:
    """Load the config of a run: defaults, then the YAML file `config`, then `overrides`, keyed by dotted option.

    `config` is a path or the name of a shipped config, or a config itself. With `like: NAME` in the file, it overrides the config of
    that name. Options of the file that are named in `without` are ignored. `place`: where the overrides were given, for messages.
    Raises UserError, one line, for the first mistake.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    if isinstance(config, Config):
        values = config.model_dump()
    elif config is not None:
        values, places = _read_with_base(find_config(config))
    for key in without:
        section, _, leaf = key.rpartition(".")
        values.get(section, {}).pop(leaf, None)
    if (name := (overrides or {}).get("model.name")) is not None:
        values["model"] = _under(values.get("model") or {}, {"name": name})
    for key, value in (overrides or {}).items():
        section, _, leaf = key.rpartition(".")
        check_key(key, place, Config)
        target = values.setdefault(section, {}) if section else values
        target[leaf] = value
        places[key] = place
    given = overrides or {}
    if "model.freeze" in given and "model.thaw" not in given and (given["model.freeze"] in NONE or not split_list(given["model.freeze"])):
        values["model"].pop("thaw", None)  # of the file, and of layers that are no longer frozen
    take_options_of_weights(values, places, given)
    return validate(Config, values, places)


NOT_RESUMED = ("train.max_steps", "train.profile")
"""Options that apply to one start of a run: a run resumed by its name does not take them from its config.yaml."""


def config_to_resume(overrides: Mapping[str, str]) -> str | None:
    """Path of the config.yaml of the run that `name` and `checkpoint.resume=auto` resume; None where there is none yet."""
    if overrides.get("checkpoint.resume") != "auto" or "name" not in overrides:
        return None
    path = Path(overrides.get("runs_dir", "runs")).expanduser() / overrides["name"] / "config.yaml"
    return str(path) if path.is_file() else None


TORCHVISION = "torchvision"
"""The word for torchvision's own file of weights in `model.weights`."""


def take_options_of_weights(values: dict[str, Any], places: dict[str, str], overrides: Mapping[str, str]) -> None:
    """Add to a config's `values` the options that follow from `model.weights`: network, image size and normalisation.

    An option that the command line gives stays. One of a config file stays only where that file names the weights too, as the
    config.yaml of a run does. Nothing is added where another network is given than the weights', nor for a file that names none.
    Raises UserError where the config.yaml of the run that `weights` names cannot be read.
    """
    model = values.get("model") or {}
    place = model.get("weights")
    found = options_of_weights(str(place), str(values.get("runs_dir", "runs"))) if place else {}
    if not found:
        return
    from_file = {} if "model.weights" in overrides else dict(values.get("model") or {})
    typed = {key.partition(".")[2]: value for key, value in overrides.items() if key.startswith("model.")}
    if {**found["model"], **from_file, **typed}.get("name") != found["model"].get("name"):
        return
    if "name" in typed:  # its file as it is now, not as the run recorded it
        found["model"].pop("code", None)
    of_training = {option: value for option, value in model.items() if option in OF_TRAINING}
    values["model"] = {**found["model"], **from_file, **of_training, **typed}
    for option, value in found["data"].items():
        key, data = f"data.{option}", values.setdefault("data", {})
        if key not in overrides and (option not in data or "model.weights" in overrides):
            data[option], places[key] = value, f"as model.weights={place} has it"


def options_of_weights(place: str, runs_dir: str) -> dict[str, dict[str, Any]]:
    """Return the options `model` and `data` that weights were trained with; empty where the place does not say.

    The place is `torchvision`, a run's folder or name in `runs_dir`, or a checkpoint inside a run.
    """
    if place == TORCHVISION:
        return {"model": {"name": "torchvision"}, "data": {"image_size": 224, "normalize": "imagenet"}}
    for path in (Path(os.path.expanduser(place)), Path(runs_dir) / place):
        folder = path.parent.parent if path.is_file() else path.parent if path.name == "checkpoints" else path
        if (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir():
            trained = read_yaml(folder / "config.yaml")[0]
            network, data = trained.get("model") or {}, trained.get("data") or {}
            return {
                "model": {option: value for option, value in network.items() if option not in OF_TRAINING},
                "data": {option: data[option] for option in ("image_size", "normalize") if option in data},
            }
    return {}


def _under(model: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options `model` of a config without those that `above`, which is laid over it, leaves behind with their network.

    These are all of them where `above` names a network of one's own in its place, and else a recorded file where it names a network.
    """
    name = above.get("name")
    if isinstance(name, str) and replaces_options(name, str(model.get("name", ""))):
        return {}
    return {option: value for option, value in model.items() if option != "code" or name is None}


_SECTIONS = {
    name for name, field in Config.model_fields.items() if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def _read_with_base(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a config file, over the one that its `like` names if any, with the place of every option. Raises UserError."""
    values, places = read_yaml(path)
    like, place = values.pop("like", None), places.pop("like", "")
    check_keys(values, places)
    values = {key: {} if value is None and key in _SECTIONS else value for key, value in values.items()}
    if like is None:
        return values, places
    if not isinstance(like, str):
        raise UserError(f"{place}: like={str(like)[:80]}: give the name of one config, e.g. `like: alexnet_paper`")
    beside = path.parent / like
    try:
        base = beside if beside.is_file() else find_config(like)
    except UserError as error:
        raise UserError(f"{place}: {str(error).removeprefix('--config=')}") from None
    if base.resolve() in (*above, path.resolve()):
        raise UserError(f"{place}: like={like} leads back to {base}; remove one `like`")
    merged, base_places = _read_with_base(base, (*above, path.resolve()))
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**(_under(merged[key], value) if key == "model" else merged[key]), **value} if both else value
    return merged, {**base_places, **places}


def find_config(name: str) -> Path:
    """Return the path of a config given as a path or as the name of a shipped one. Raises UserError where there is none."""
    for path in (Path(name).expanduser(), CONFIGS / f"{name}.yaml", CONFIGS / name):
        if path.is_file():
            return path
    raise UserError(f"--config={name}: no such file{nearest(name, shipped_configs())}; shipped are: {', '.join(shipped_configs())}")


def shipped_configs() -> list[str]:
    """Return the names of the shipped configs, sorted."""
    return sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml"))


class _StrictLoader(yaml.SafeLoader):
    """YAML without the surprising numbers of YAML 1.1: `1e-2` is a number, `1:30` is text."""


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in rules if not tag.endswith((":float", ":int", ":timestamp"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a config file as nested dicts, with the place (file and line) of every dotted key.

    Aliases and keys given twice are refused. Raises UserError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _StrictLoader)):
            raise UserError(f"{path}: YAML aliases (*name) are not allowed; write the values out")
        node = yaml.compose(text, _StrictLoader)
        values = yaml.load(text, _StrictLoader)
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; a config has sections of options, e.g. `train: {{epochs: 2}}`") from None
    except ValueError as error:  # of a number with thousands of digits
        raise UserError(f"{path}: a value cannot be read ({brief(error)})") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a mapping; a config has options, e.g. `train: {{epochs: 2}}`")
    return values, dict(_places_in(node, path, ""))


def _places_in(node: Any, path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            raise UserError(f"{path}, line {line}: {name} is given twice; keep one")
        seen.add(name)
        yield name, f"{path}, line {line}"
        if isinstance(value, yaml.MappingNode):
            yield from _places_in(value, path, f"{name}.")


def check_keys(values: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Raise UserError for the first key of a config file that is not an option."""
    for key, value in values.items():
        place = places.get(str(key), "")
        if key in _SECTIONS:
            if value is not None and not isinstance(value, dict):
                raise UserError(f"{key}={value!r} ({place}): a section, not a value; give its options, e.g. `{key}: {{…}}`")
            section = cast(type[Section], Config.model_fields[key].annotation)
            for leaf in (leaf for leaf in value or {} if leaf not in section.earlier):
                check_key(f"{key}.{leaf}", places.get(f"{key}.{leaf}", place), Config)
        else:
            check_key(str(key), place, Config)
