"""Networks of one's own, as `model.name` names them: `FILE.py:FUNCTION` and `torchvision:NAME`.

The text of FILE is read once, with the config, and is part of it from then on (`model.code`): processes compare it, checkpoints hold it,
and a run needs FILE no more. Nothing here runs it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TORCHVISION = "torchvision:"
FORMS = (
    (
        "FILE.py:FUNCTION",
        "A network of your own: FUNCTION(classes, image_size) in FILE returns an nn.Module for images (n, 3, side, side).",
    ),
    ("torchvision:NAME", "A classification network of torchvision, such as torchvision:resnet18."),
)
"""What may be typed besides the names of networks, with its meaning."""
HONOURED = ("name", "code", "columns", "weights", "freeze", "thaw")
"""Options of `model` that apply to a network of one's own; it decides the others itself."""


def is_own(name: str) -> bool:
    """Whether `name` has one of the two forms."""
    return name.startswith(TORCHVISION) or ".py:" in name


def require_form(name: str) -> str:
    """Return `name` if it has one of the two forms. Raises ValueError, with the way out, where it almost has."""
    file, function = split_name(name)
    if name.endswith((".py", ".py:")):
        raise ValueError(f"name the function in it that returns the network, e.g. {name.rstrip(':')}:build")
    if not is_own(name):
        raise ValueError("has neither of the forms FILE.py:FUNCTION, e.g. net.py:build, and torchvision:NAME, e.g. torchvision:resnet18")
    if not function:
        raise ValueError("name one of torchvision's networks, e.g. torchvision:resnet18")
    if not function.isidentifier():
        raise ValueError(f"{function!r} is no name of a function; give FILE.py:FUNCTION, e.g. {file}:build")
    return name


def split_name(name: str) -> tuple[str, str]:
    """Return file and function of `FILE.py:FUNCTION`."""
    file, _, function = name.rpartition(":")
    return file, function


def label_of(name: str) -> str:
    """Return a short name for folders, tables and figures: `net` of net.py:build, `resnet18` of torchvision:resnet18."""
    if name.startswith(TORCHVISION):
        return name.removeprefix(TORCHVISION)
    return Path(split_name(name)[0]).stem if is_own(name) else name


def replaces_options(name: str, before: str) -> bool:
    """Whether a network called `name` leaves the options of one called `before` behind, as it has none of them."""
    return is_own(name) and name != before


def read_code(name: str) -> str | None:
    """Return the text of the file that `name` names; None for a network of torchvision.

    Raises ValueError where it is missing, is no Python, or imports a file beside it, of which a run would keep no copy.
    """
    if name.startswith(TORCHVISION):
        return None
    path = Path(os.path.expanduser(split_name(name)[0]))
    try:
        code = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ValueError(
            f"model.name={name}: {path.absolute()} cannot be read ({reason}); give the path of a Python file, or of the copy that a run of "
            "it keeps, RUN/network.py"
        ) from None
    try:
        imported = _imported(ast.parse(code))
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"model.name={name}: {path}{where} is not valid Python ({getattr(error, 'msg', error)}); correct it") from None
    for module in imported:
        if (beside := path.parent / f"{module}.py").is_file():
            raise ValueError(
                f"model.name={name}: imports {beside.name} from beside it, and a run keeps a copy of one file; put both into one, or "
                f"install {module} as a package"
            )
    return code


def _imported(tree: ast.Module) -> list[str]:
    """Top-level names that a file imports, inside functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "").partition(".")[0] if not node.level else (node.module or node.names[0].name))
    return found


def with_code(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the text of the network's file to options of `model`, where it is not there yet. Raises ValueError as `read_code`."""
    if values.get("code") is not None or not split_name(str(values["name"]))[1].isidentifier():
        return dict(values)  # a wrong name is reported as such
    return {**values, "code": read_code(values["name"])}


def require_honoured(given: Mapping[str, str], name: str) -> None:
    """Raise ValueError for the first of the `given` options, as typed, that such a network does not have."""
    for option, value in given.items():
        if option not in HONOURED:
            way = "its dropout is in its own layers" if option == "dropout" else "it decides that itself"
            raise ValueError(f"model.{option}={value}: does not go with model.name={name}, as {way}; remove it")
