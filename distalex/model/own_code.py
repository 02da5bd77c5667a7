"""The function that builds a network of one's own: from the text of a file, or torchvision's by name."""

from __future__ import annotations

import difflib
import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from distalex.config.model import ModelConfig
from distalex.config.own_network import TORCHVISION, split_name
from distalex.config.schema import digest_of_text
from distalex.errors import UserError


def call_build(config: ModelConfig, classes: int, image_size: int) -> Any:
    """Return what the function that `config` names returns for so many classes and images of this side.

    Raises UserError, with the file's line, where there is no such function, where it takes other arguments or where it raises.
    """
    name = config.name
    build: Callable[..., Any]
    if name.startswith(TORCHVISION):
        build, file = partial(_build_torchvisions, name), ""
    else:
        build, file = _function(name, config.code or "")
    if isinstance(build, nn.Module):
        raise UserError(f"model.name={name}: is a network, not a function that returns one; write def build(classes, image_size): …")
    call = _by_name_or_place(build, name, classes, image_size)
    try:
        return call()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"model.name={name}: fails with classes={classes}, image_size={image_size} ({describe(error, file)})") from None


def _by_name_or_place(build: Callable[..., Any], name: str, classes: int, image_size: int) -> Callable[[], Any]:
    """Return the call of `build`, whose arguments are given by their names where it has these. Raises UserError where it takes others."""
    named, placed = {"classes": classes, "image_size": image_size}, (classes, image_size)
    try:
        taken = inspect.signature(build)
    except ValueError:  # of a function without a signature
        return partial(build, *placed)
    if named.keys() <= taken.parameters.keys() and _takes(taken, **named):
        return partial(build, **named)
    if _takes(taken, *placed):
        return partial(build, *placed)
    raise UserError(f"model.name={name}: takes {taken}; define it as build(classes, image_size), or with these two by name")


def _takes(taken: inspect.Signature, *placed: int, **named: int) -> bool:
    try:
        taken.bind(*placed, **named)
    except TypeError:
        return False
    return True


def describe(error: BaseException, file: str = "") -> str:
    """Format an exception in one line, with the line of `file` that it left last."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


def file_of(name: str) -> str:
    """Return what the file that `name` names is called in tracebacks."""
    return f"<{split_name(name)[0]}>"


def _function(name: str, code: str) -> tuple[Callable[..., Any], str]:
    """Run a file's text; return the function that `name` names, and what the file is called in tracebacks."""
    path, function = split_name(name)
    file = file_of(name)
    module = types.ModuleType(f"network_{digest_of_text(code)}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses and torch.compile look a class's module up
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    try:
        exec(compile(code, file, "exec"), module.__dict__)
    except ImportError as error:
        raise UserError(f"model.name={name}: {describe(error, file)}; install what it imports, or put it into the file") from None
    except (Exception, SystemExit) as error:
        raise UserError(f"model.name={name}: the file fails when it is imported ({describe(error, file)}); correct it") from None
    found = getattr(module, function, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
        others = f"; there are {', '.join(functions[:8])}" if functions else "; define build(classes, image_size) in it"
        raise UserError(f"model.name={name}: {path} has no function {function}{others}")
    return found, file


def _build_torchvisions(name: str, classes: int, image_size: int) -> Any:
    """Build a network of torchvision's classification list, without its auxiliary classifiers."""
    from torchvision import models

    wanted, known = name.removeprefix(TORCHVISION), models.list_models(module=models)
    if wanted not in known:
        near = difflib.get_close_matches(wanted.lower(), known, 1, 0.4)
        instead = f", did you mean {TORCHVISION}{near[0]}?" if near else "; it has " + ", ".join(known[:8]) + ", …"
        raise UserError(f"model.name={name}: torchvision has no such network{instead}")
    options: dict[str, Any] = {}
    if wanted.startswith("vit_"):
        options["image_size"] = image_size
    elif wanted.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    elif wanted in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    return models.get_model(wanted, weights=None, num_classes=classes, **options)
