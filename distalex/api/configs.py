"""The config that a call from Python describes: a shipped config, a file, a Config or a folder of images, and overrides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from distalex.config.config import Config
from distalex.config.loading import load_config, shipped_configs
from distalex.config.schema import Section, nearest, plain_values, validate
from distalex.errors import UserError
from distalex.train.options import TrainOptions

ConfigLike = Union[str, "os.PathLike[str]", Config, None]
"""A shipped config's name, a YAML file or a Config; or what holds images, as `train DIR` takes it."""


def read_config(what: ConfigLike, overrides: Mapping[str, Any] | None, config: ConfigLike, options: Mapping[str, Any], call: str) -> Config:
    """Return the config that a call describes.

    Args:
        what: a config, or a folder, archive or table of images, or a prepared file.
        overrides: options by dotted name, or by section and name; Python values or text.
        config: the config, where `what` holds images.
        options: keywords: options without a dot.
        call: name of the called function, for messages.

    Raises:
        UserError: one line, for the first mistake.
    """
    if not isinstance(overrides, Mapping) and overrides is not None:
        raise UserError(f"{call}: the second argument is a dict of options, e.g. {{'train.max_steps': 20}}, and not {overrides!r:.80}")
    images: Mapping[str, str] = {}
    for one in (what, config):
        if not isinstance(one, (str, os.PathLike, Config, Mapping)) and one is not None:
            raise UserError(f"{call}: {one!r:.80} is no config's name, file, Config or folder of images")
    if isinstance(what, Mapping):
        raise UserError(f"{call}: the first argument is a config or what holds images; give options second: {call}(None, {{…}})")
    if what is not None and not isinstance(what, Config):
        word = str(os.fspath(what))
        if not is_config(what):
            images = validate(TrainOptions, {"root": os.path.expanduser(word)}, {}).overrides()
        elif config is not None:
            raise UserError(f"{call}: {word} is a config and so is config={config!r:.80}; give one of them")
        else:
            config = word
    elif what is not None:
        config = what
    given = {**images, **_dotted(overrides or {}), **options}
    return load_config(os.fspath(config) if isinstance(config, os.PathLike) else config, plain_values(given), place=f"distalex.{call}")


def is_config(what: str | os.PathLike[str]) -> bool:
    """Whether a word or path names a config, and not images. Raises UserError where it is neither."""
    word = str(os.fspath(what))
    path, is_shipped = Path(word).expanduser(), isinstance(what, str) and word in shipped_configs()
    if is_shipped:
        if path.is_dir():
            print(f"{word}: the config that ships with distalex; for the folder of that name pass './{word}'", flush=True)
        return True
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return True
    if not word or not (path.exists() or set("*{") & set(word)):
        shipped = shipped_configs()
        near = nearest(word, shipped)
        raise UserError(f"{word!r}: no shipped config, file or folder of images{near}; the configs are {', '.join(shipped)}")
    return False


def _dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted name; {"train": {"epochs": 2}} stands for {"train.epochs": 2}."""
    dotted: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, Section):
            value = value.model_dump()
        field = Config.model_fields.get(str(key))
        if (
            isinstance(value, Mapping)
            and field is not None
            and isinstance(field.annotation, type)
            and issubclass(field.annotation, Section)
        ):
            dotted |= {f"{key}.{leaf}": one for leaf, one in value.items()}
        else:
            dotted[str(key)] = value
    return dotted
