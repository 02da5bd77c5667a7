"""The names that an option accepts where each is declared by a file of its own: a network, an optimizer, a kind of source.

Users type the file's name. The first paragraph of its docstring is its help text. Its constants in capital letters are facts that
other rooms read. Files are parsed here and not imported, so that `--help` needs no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import CoreSchema, core_schema

PACKAGE = Path(__file__).resolve().parent.parent
"""Folder of the package."""


@dataclass(frozen=True)
class Declared:
    """What one file declares."""

    name: str
    """The file's name without its suffix, which users type."""
    meaning: str
    """The first paragraph of the file's docstring, on one line."""
    facts: Mapping[str, Any]
    """Its constants in capital letters whose values are literals."""


@cache
def declared_in(folder: str) -> Mapping[str, Declared]:
    """Return what the files of `folder`, a path below the package such as `optim/optimizers`, declare; by name, sorted."""
    paths = sorted(path for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")
    return {path.stem: _read(path) for path in paths}


def facts_in(folder: str, name: str) -> Mapping[str, Any]:
    """Return the constants that the file `name` of `folder` declares; empty where there is no such file."""
    declared = declared_in(folder).get(name)
    return declared.facts if declared else {}


def _read(path: Path) -> Declared:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    facts = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id.isupper() and node.value:
            try:
                facts[target.id] = ast.literal_eval(node.value)
            except ValueError:  # an expression, which only an import of the file evaluates
                continue
    paragraph = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    return Declared(path.stem, " ".join(paragraph.split()), facts)


@dataclass(frozen=True)
class OneOf:
    """Restrict an option to the names that a folder's files declare: `Annotated[str, OneOf("optim/optimizers")]`."""

    folder: str
    """Path below the package."""
    also: tuple[tuple[str, str], ...] = ()
    """Further names with their help texts."""
    without: tuple[str, ...] = ()
    """Names of files that are not offered."""
    forms: tuple[tuple[str, str], ...] = ()
    """Forms of names that files do not declare, such as `FILE.py:FUNCTION`, with their help texts."""
    read: Callable[[str], str] | None = None
    """Given a name with a `:` or the end `.py`, which has one of `forms`, returns it or raises ValueError."""

    @property
    def meanings(self) -> dict[str, str]:
        """The help text of each name, by name."""
        declared = {name: one.meaning for name, one in declared_in(self.folder).items() if name not in self.without}
        return {**declared, **dict(self.also), **dict(self.forms)}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        forms = dict(self.forms)
        names = core_schema.literal_schema([name for name in self.meanings if name not in forms])
        if self.read is None:
            return names
        formed = core_schema.no_info_after_validator_function(self.read, core_schema.str_schema())
        return core_schema.tagged_union_schema({"name": names, "form": formed}, discriminator=_kind_of)


def _kind_of(value: Any) -> str:
    """Whether a value is a declared `name` or has a `form`."""
    return "form" if isinstance(value, str) and (":" in value or value.endswith(".py")) else "name"
