"""What an option may name: the files of a folder, each of which declares one thing (a network, an optimizer, a kind of source, …).

The file's name is what users type. The first paragraph of its docstring is what help says of it. Its constants in capital letters
are the facts that other rooms ask for. Files are read here and not imported, so that `--help` needs no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import CoreSchema, core_schema

PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Declared:
    """One thing that a file declares."""

    name: str
    meaning: str
    """The first paragraph of the file's docstring, on one line."""
    facts: Mapping[str, Any]
    """Its constants in capital letters whose values are literals."""


@cache
def declared_in(folder: str) -> Mapping[str, Declared]:
    """What the files of `folder`, a path below the package such as `optim/optimizers`, declare, by name and in that order."""
    paths = sorted(path for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")
    return {path.stem: _read(path) for path in paths}


def _read(path: Path) -> Declared:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    facts = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id.isupper() and node.value:
            try:
                facts[target.id] = ast.literal_eval(node.value)
            except ValueError:  # an expression: whoever wants it imports the file
                continue
    paragraph = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    return Declared(path.stem, " ".join(paragraph.split()), facts)


@dataclass(frozen=True)
class OneOf:
    """In an annotation, `Annotated[str, OneOf("optim/optimizers")]`: the names that a folder's files declare, and those of `also`."""

    folder: str
    also: tuple[tuple[str, str], ...] = ()
    """Further names with their meanings."""
    without: tuple[str, ...] = ()
    """Names of files that are not offered."""

    @property
    def meanings(self) -> dict[str, str]:
        """What each name means, by name."""
        declared = {name: one.meaning for name, one in declared_in(self.folder).items() if name not in self.without}
        return {**declared, **dict(self.also)}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.meanings))
