"""Help text of options."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterator
from typing import Annotated, Any

from distalex.config.config import Config
from distalex.config.schema import Section, choices_of, default_text, meanings_of, options_of


def describe(kind: type[Section]) -> str:
    """Format every option of a section for `--help`: its form, default and meaning, with the name of its subsection above each group."""
    return "\n".join(_lines(kind, None))


def describe_sections(sections: Collection[str]) -> str:
    """Format the options of some sections of a config for `--help`; "" is the top level."""
    return "\n".join(_lines(Config, sections))


def _lines(kind: type[Section], sections: Collection[str] | None) -> Iterator[str]:
    section = ""
    for key, field in options_of(kind):
        of = key.rpartition(".")[0]
        if sections is not None and of not in sections:
            continue
        if of != section:
            section = of
            yield f"\n{section}: {typing.cast(type, kind.model_fields[section].annotation).__doc__}"
        default = default_text(field)
        form = "|".join(choices_of(field)) or _form(field.annotation)
        yield f"  --{key}={form}{f' [{default}]' if default else ''}"
        yield from (f"      {line.strip()}" for line in (field.description or "").splitlines())
        yield from (f"        {name}: {meaning}" for name, meaning in meanings_of(field).items())


def _form(annotation: Any) -> str:
    """One word for what to type after the `=`."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (Annotated, typing.Union, types.UnionType):
        return _form(typing.get_args(annotation)[0])
    return {bool: "true|false", int: "N", float: "X", str: "TEXT", tuple: "A,B,…", dict: "NAME:X,…"}.get(origin, "VALUE")
