"""Handle losses, gradients and states that are not finite (`train.on_nonfinite`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distalex.config.config import Config
from distalex.errors import NotFinite, TrainingError
from distalex.evaluate.evaluation import Evaluation
from distalex.parallel.mesh import Mesh
from distalex.runs.checkpoint import are_finite
from distalex.train.state import TrainState

MOST_LEFT_OUT = 20
"""Maximum number of skipped steps: in total for `rollback`, consecutive for `skip`."""


class NonFiniteGuard:
    """Watches loss and gradients of every step, and the state before it is saved.

    `stop` remembers the first bad loss on the device, so that no step waits for it, and ends the run at the next line of metrics;
    `skip` and `rollback` read loss and gradients of every step, and take back what the step did to the network's buffers.
    """

    def __init__(self, config: Config, mesh: Mesh) -> None:
        self.config, self.mesh = config, mesh
        self.mode = config.train.on_nonfinite
        self._first_bad_step: Tensor | None = None
        self._left_out_in_a_row = 0
        self._buffers: list[Tensor] = []

    def begin_step(self, net: nn.Module) -> None:
        """Copy the buffers of `net` (running statistics of batch normalisation), which the forward pass changes."""
        if self.mode != "stop":
            self._buffers = [buffer.clone() for buffer in net.buffers()]

    def allows(self, loss: Tensor, state: TrainState) -> bool:
        """Whether the gradients of the step that `state` stands at may be applied; the same answer on every rank.

        Raises NotFinite where the run is to roll back, and TrainingError where too many steps in a row were left out.
        """
        if self.mode == "stop":
            self._remember_first(loss, state.step + 1)
            return True
        gradients = [parameter.grad for parameter in state.shards.parameters(state.net).values()]
        if not self.mesh.any(not are_finite([loss, *gradients])):
            self._left_out_in_a_row = 0
            return True
        if self.mode == "rollback" and state.step not in state.left_out:
            raise NotFinite(f"step {state.step + 1}")
        for buffer, before in zip(state.net.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        state.left_out.add(state.step)
        self._left_out_in_a_row += 1
        if self._left_out_in_a_row > MOST_LEFT_OUT:
            raise TrainingError(
                f"loss or gradients of {self._left_out_in_a_row} steps in a row, up to step {state.step + 1}, are not finite; "
                f"{self._remedies()}"
            )
        return False

    def _remember_first(self, loss: Tensor, step: int) -> None:
        if self._first_bad_step is None:
            self._first_bad_step = torch.zeros((), device=loss.device, dtype=torch.int64)
        bad = (self._first_bad_step == 0) & ~torch.isfinite(loss)
        self._first_bad_step = torch.where(bad, step, self._first_bad_step)

    def reported(self, loss: Tensor) -> Tensor:
        """The loss to log: in `stop`, NaN from the first bad one on, also where later ones are finite.

        A GPU's convolutions that rectify may take NaN for 0, and so hide weights that are not finite from the loss.
        """
        return loss if self._first_bad_step is None else torch.where(self._first_bad_step > 0, torch.nan, loss)

    def require_finite_loss(self, loss: float) -> None:
        """Raise TrainingError, naming the first bad step, where the loss of a line of metrics is not finite and the mode is `stop`."""
        if self.mode == "stop" and not math.isfinite(loss):
            raise TrainingError(f"the loss is not finite ({self._first()}); {self._remedies()}")

    def require_finite_state(self, state: TrainState) -> None:
        """Raise TrainingError, on every rank, where the state that is about to be saved, or in mode `stop` a loss, is not finite on any."""
        if self.mesh.any(not state.is_finite() or self._first_bad() < math.inf):
            raise TrainingError(
                f"the training state (weights, buffers, moving average or optimizer) or a loss is not finite at step {state.step} "
                f"({self._first()}), so it is not saved, and the last good checkpoint stays; {self._remedies()}"
            )

    def require_finite_evaluation(self, evaluation: Evaluation, state: TrainState) -> None:
        """Raise TrainingError where the loss of an evaluation is not finite."""
        if not math.isfinite(evaluation.loss):
            raise TrainingError(f"the loss of the evaluation at step {state.step} is not finite; {self._remedies()}")

    def roll_back(self, state: TrainState, found: dict[str, Any] | None, say: Callable[[str], None]) -> None:
        """Restore `state` from the checkpoint `found`. The failed step is skipped when it is reached again.

        Raises TrainingError where there is no checkpoint, or where it has happened too often.
        """
        bad = state.step
        state.left_out.add(bad)
        if found is None or len(state.left_out) > MOST_LEFT_OUT:
            why = "there is no checkpoint to roll back to" if found is None else f"{len(state.left_out)} steps were left out already"
            raise TrainingError(f"loss or gradients of step {bad + 1} are not finite, and {why}; {self._remedies()}")
        state.load_state_dict(found)
        say(f"loss or gradients of step {bad + 1:,} are not finite: rolled back to step {state.step:,}; that step will be skipped")

    def _first_bad(self) -> float:
        """The first step with a loss that is not finite on this rank, in mode `stop`; infinite without one. Waits for the device."""
        step = 0 if self._first_bad_step is None else int(self._first_bad_step)
        return step or math.inf

    def _first(self) -> str:
        """The first such step of any rank, in words. A collective."""
        step = -self.mesh.largest(-self._first_bad())
        return f"first at step {step:.0f}" if step < math.inf else "all losses were finite"

    def _remedies(self) -> str:
        return (
            f"lower optim.lr={self.config.optim.lr:g}, add optim.warmup_epochs or train.clip_norm, or check that model.init and "
            "data.normalize fit each other"
        )
