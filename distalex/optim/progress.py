"""How far a run is, as learning-rate schedules see it."""

from __future__ import annotations

from typing import NamedTuple


class Progress(NamedTuple):
    """How far a run is when a learning rate is set."""

    done: float
    """Share of all steps that are done, 0 to 1."""
    after_warmup: float
    """Share of the steps after `optim.warmup_epochs` that are done, 0 to 1."""
    reductions: int
    """How often the test loss has stopped falling, `optim.reductions` at most."""
