"""Options of `compare`."""

from __future__ import annotations

from pydantic import Field

from distalex.config.schema import Float, Section


class CompareOptions(Section):
    """Options of `compare`."""

    run: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint."""
    other: str = Field(min_length=1)
    """The run (its folder or name) or checkpoint that it is compared with."""
    runs_dir: str = "runs"
    """Folder of the runs, where RUN or OTHER is a name."""
    tolerance: Float = Field(1e-5, ge=0)
    """Largest difference that is still the same: absolute in losses, in shares right and in weights, relative in learning
    rates. fp32 sums in another order move a loss by a few 1e-6; 0 asks for equality to the bit."""
    weights_tolerance: Float | None = Field(None, ge=0)
    """The same for weights, their moving average and the optimizer's state. Default: `tolerance`."""
