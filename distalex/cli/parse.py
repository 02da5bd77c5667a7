"""Split a command line into words and options, and read the options of a command from them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from distalex.config.command import CommandOptions
from distalex.config.config import Config
from distalex.config.loading import NOT_RESUMED, config_to_resume, load_config
from distalex.config.schema import check_key, choices_of, validate
from distalex.errors import UserError

STDIN = "standard input"
"""Stands for a lone dash while Fire parses, which takes it for the end of a call."""

OptionsType = TypeVar("OptionsType", bound=CommandOptions)


class Request(NamedTuple):
    """A command line: its words, and its options by name, all as text."""

    words: tuple[str, ...]
    options: dict[str, str]


def parse(arguments: Sequence[str]) -> Request:
    """Split arguments into words and options as text. Raises UserError for an argument that is neither."""
    import fire
    from fire.decorators import SetParseFn

    if "LOCAL_RANK" in os.environ:  # torch.distributed.launch adds what the environment says
        arguments = [argument for argument in arguments if not re.fullmatch(r"--local[-_]rank=\d+", argument)]
    for argument in arguments:
        if argument == "-":
            continue
        if argument.startswith("-") and (argument == "--" or not argument.lstrip("-")[:1].isalpha()):
            raise UserError(f"{argument}: not an option; options look like --optim.lr=0.01")
        if argument.startswith("-") and not argument.startswith("--"):
            raise UserError(f"{argument}: options have two dashes, e.g. -{argument}")

    @SetParseFn(str)
    def request(*words: str, **options: str) -> Request:
        return Request(tuple("-" if word == STDIN else word for word in words), options)

    # Fire takes dashes in names for underscores, and a lone option for a switch: --train.compile is true.
    words = [STDIN if argument == "-" else argument for argument in arguments]
    return fire.Fire(request, command=words, name="distalex", serialize=lambda _: None)


def read_options(request: Request, kind: type[OptionsType]) -> OptionsType:
    """Read the options of a command that takes no config. Raises UserError for the first mistake."""
    for key in request.options:
        check_key(kind.short.get(key, key), "command line", kind)
    return _validated(request.words, request.options, kind)


def read_options_and_config(request: Request, kind: type[OptionsType]) -> tuple[OptionsType, Config]:
    """Read the options of a command, and the config that `--config` and all other options describe. Raises UserError."""
    for key in request.options:
        check_key(key, "command line", Config, kind, also=("config",))
    own = {key: value for key, value in request.options.items() if key in kind.model_fields}
    options = _validated(request.words, own, kind)
    overrides = {key: value for key, value in request.options.items() if key not in own}
    config = overrides.pop("config", None)
    resumed = config_to_resume(overrides) if config is None else None
    without = NOT_RESUMED if resumed else ()
    return options, load_config(resumed or config, {**options.overrides(), **overrides}, without)


def _validated(given: tuple[str, ...], named: dict[str, str], kind: type[OptionsType]) -> OptionsType:
    """Options from words and named values. Raises UserError where a word is missing, unexpected or has a bad value."""
    values: dict[str, object] = {kind.short.get(key, key): value for key, value in named.items()}
    words = list(given)
    for name in kind.words:
        if words and name not in values:
            values[name] = words.pop(0)
    if kind.rest is not None and words:
        values[kind.rest] = tuple(words)
    elif words:
        raise UserError(f"{words[0]}: unexpected argument; options look like --name=value (usage: {_usage(kind)})")
    for name, field in kind.model_fields.items():
        if name not in values and field.is_required():
            choices = choices_of(field)
            wanted = f"one of {', '.join(choices)}" if choices else (field.description or name).splitlines()[0].rstrip(".")
            typed = name.upper() if name in (*kind.words, kind.rest) else f"--{name}"
            raise UserError(f"{typed} is missing: {wanted} (usage: {_usage(kind)})")
    return validate(kind, values, dict.fromkeys(values, "command line"))


def _usage(kind: type[CommandOptions]) -> str:
    return kind.usage.splitlines()[0]
