"""Options of `compare`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from distalex.config.command import CommandOptions, RunPlace, RunsDir
from distalex.config.schema import Float


class CompareOptions(CommandOptions):
    """Compare two runs: loss curves, evaluations, weights. Names the first step and parameter that differ; exit status 1 if any do."""

    usage: ClassVar[str] = "python -m distalex.compare RUN OTHER [--OPTION=VALUE …]"
    words: ClassVar[tuple[str, ...]] = ("run", "other")

    run: RunPlace
    other: str = Field(min_length=1)
    """The run or checkpoint to compare it with."""
    runs_dir: RunsDir = "runs"
    tolerance: Float = Field(1e-5, ge=0)
    """Largest difference that counts as equal: absolute for losses, weights and accuracies (as fractions), relative for learning
    rates. Another order of fp32 summation changes a loss by a few 1e-6; 0 requires equality to the bit."""
    weights_tolerance: Float | None = Field(None, ge=0)
    """Tolerance of weights, their moving average and the optimizer's state. Default: `tolerance`."""
