"""AlexNet, trained the way the 2012 paper did, on one to many devices.

    import distalex
    run = distalex.fit("digits", {"train.max_steps": 20})
    run.predict(["photo.jpg"])

docs/python.md shows every call. Nothing is imported before it is used: `import distalex` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distalex.api.classifier import Classifier as Classifier
    from distalex.api.classifier import load as load
    from distalex.api.columns import build_network as build_network
    from distalex.api.columns import split_into_columns as split_into_columns
    from distalex.api.fit import fit as fit
    from distalex.api.images import images as images
    from distalex.api.trained_run import TrainedRun as TrainedRun
    from distalex.api.trained_run import draw_curves as draw_curves
    from distalex.api.trained_run import open_run as open_run
    from distalex.config.config import Config as Config
    from distalex.errors import TrainingError as TrainingError
    from distalex.errors import UserError as UserError
    from distalex.evaluate import run as evaluate  # noqa: F401
    from distalex.prepare import run as prepare  # noqa: F401

__version__ = "0.1.0"

_PLACES = {
    **{"fit": "api.fit", "load": "api.classifier", "images": "api.images", "TrainedRun": "api.trained_run", "Classifier": "api.classifier"},
    **{"build_network": "api.columns", "split_into_columns": "api.columns", "draw_curves": "api.trained_run"},
    **{"open_run": "api.trained_run"},
    **{"Config": "config.config", "UserError": "errors", "TrainingError": "errors"},
}
"""The module that defines each name."""
_ROOMS = ("evaluate", "prepare")
"""Rooms that can be called."""
__all__ = ["__version__", *_PLACES, *_ROOMS]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used (PEP 562)."""
    if name in _ROOMS:
        return import_module(f"distalex.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'distalex' has no attribute {name!r}; there are {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"distalex.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
