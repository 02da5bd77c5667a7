"""Exact evaluation on any number of processes. The room can be called: `distalex.evaluate(RUN)`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distalex.evaluate.evaluation import Evaluation


def run(place: Any = None, **options: Any) -> Evaluation:
    """Evaluate a run on its whole test set, print the result and return it.

    `place`: a run, its folder or name, or a checkpoint; by default the newest run. Options are those of
    `python -m distalex.evaluate`, e.g. ten_crop=True. Raises UserError where the run or its data are missing, and TrainingError where
    the loss is not finite.
    """
    from distalex.config.schema import plain_values, validate
    from distalex.evaluate.options import EvaluateOptions
    from distalex.evaluate.work import evaluate_run

    return evaluate_run(
        validate(EvaluateOptions, plain_values({"run": getattr(place, "folder", getattr(place, "path", place)), **options}), {})
    )


class _Room(ModuleType):
    """The import system binds this room to the name `evaluate` in distalex, where a function of that name could not stay."""

    __call__ = staticmethod(run)


sys.modules[__name__].__class__ = _Room
