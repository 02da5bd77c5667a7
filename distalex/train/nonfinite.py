"""The one place that decides what a loss that is not finite leads to (`train.on_nonfinite`)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from distalex.config.config import Config
from distalex.errors import NotFinite, TrainingError
from distalex.parallel.mesh import Mesh
from distalex.runs.checkpoint import load_newest
from distalex.train.saving import Saver
from distalex.train.state import TrainState

MOST_LEFT_OUT = 20  # steps, before a run that rolls back gives up


class NonFiniteGuard:
    """Watches the loss of every step.

    `stop` remembers the first bad step on the device, so that no step waits for it, and ends the run at the next line of metrics;
    `skip` and `rollback` read the loss of every step.
    """

    def __init__(self, config: Config, mesh: Mesh) -> None:
        self.config, self.mesh = config, mesh
        self.mode = config.train.on_nonfinite
        self._first_bad_step: Tensor | None = None

    def allows(self, loss: Tensor, state: TrainState) -> bool:
        """Whether the gradients of the step that `state` stands at may be applied; the same answer on every rank.

        Raises NotFinite where the run is to roll back.
        """
        if self.mode == "stop":
            self._remember_first(loss, state.step + 1)
            return True
        if not self.mesh.any(not bool(torch.isfinite(loss))):
            return True
        if self.mode == "rollback" and state.step not in state.left_out:
            raise NotFinite(f"step {state.step + 1}")
        state.left_out.add(state.step)
        return False

    def _remember_first(self, loss: Tensor, step: int) -> None:
        if self._first_bad_step is None:
            self._first_bad_step = torch.zeros((), device=loss.device, dtype=torch.int64)
        bad = (self._first_bad_step == 0) & ~torch.isfinite(loss)
        self._first_bad_step = torch.where(bad, step, self._first_bad_step)

    def require_finite(self, loss: float) -> None:
        """Raise TrainingError, naming the first bad step, where the loss of a line of metrics is not finite and the mode is `stop`."""
        if self.mode == "stop" and not math.isfinite(loss):
            step = int(self._first_bad_step) if self._first_bad_step is not None else 0
            raise TrainingError(f"the loss is not finite (first at step {step or 'another rank'}); {self._remedies()}")

    def roll_back(self, state: TrainState, saver: Saver, say: Callable[[str], None]) -> None:
        """Restore `state` from the newest checkpoint; the step that it stood at changes nothing when it comes again.

        Raises TrainingError where there is no checkpoint, or where it has happened too often.
        """
        bad = state.step
        state.left_out.add(bad)
        saver.writer.wait()
        self.mesh.barrier()
        found = load_newest(saver.writer.folder, say)
        if found is None or len(state.left_out) > MOST_LEFT_OUT:
            why = "there is no checkpoint to roll back to" if found is None else f"{len(state.left_out)} steps were left out already"
            raise TrainingError(f"the loss of step {bad + 1} is not finite, and {why}; {self._remedies()}")
        state.load_state_dict(found)
        say(f"the loss of step {bad + 1:,} is not finite: rolled back to step {state.step:,}; that step will change nothing")

    def _remedies(self) -> str:
        return (
            f"lower optim.lr={self.config.optim.lr:g}, add optim.warmup_epochs or train.clip_norm, or check that model.init and "
            "data.normalize fit each other"
        )
