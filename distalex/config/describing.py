"""Help text of options."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

from distalex.config.config import Config
from distalex.config.schema import Section, choices_of, meanings_of, options_of, plain_text


def describe(kind: type[Section] = Config) -> str:
    """Help text of every option: its form, default and meaning."""
    lines: list[str] = []
    section = ""
    for key, field in options_of(kind):
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines.append(f"\n{section}: {typing.cast(type, kind.model_fields[section].annotation).__doc__}")
        default = field.get_default(call_default_factory=True)
        form = "|".join(choices_of(field)) or _form(field.annotation)
        suffix = "" if default in (None, "", (), {}) or field.is_required() else f" [{plain_text(default)}]"
        lines.append(f"  --{key}={form}{suffix}")
        lines += [f"      {line.strip()}" for line in (field.description or "").splitlines()]
        lines += [f"        {name}: {meaning}" for name, meaning in meanings_of(field).items()]
    return "\n".join(lines)


def _form(annotation: Any) -> str:
    """What to type after the `=`, in one word."""
    if typing.get_origin(annotation) is Annotated:
        return _form(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _form(typing.get_args(annotation)[0])
    origin = typing.get_origin(annotation) or annotation
    return {bool: "true|false", int: "N", float: "X", str: "TEXT", tuple: "A,B,…", dict: "NAME:X,…"}.get(origin, "VALUE")
