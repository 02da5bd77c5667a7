"""The learning rate of each step.

Each file of `optim/schedules/` declares one schedule:
- its docstring, the first paragraph of which `--help` prints;
- `share(progress, config)`, which returns the learning rate as a share of `optim.lr`;
- `WARMS_UP = True` where the schedule itself starts at a low rate, so that `optim.warmup_epochs` is refused with it.
"""

from __future__ import annotations

import math
from importlib import import_module

import torch

from distalex.config.optim import OptimConfig
from distalex.optim.progress import Progress


class Schedule:
    """The learning rate of each step of a run, and the state of schedules that follow the test loss.

    Args:
        config: options of the optimizer.
        total_steps: steps of the whole run.
        steps_per_epoch: steps of one epoch.
    """

    def __init__(self, config: OptimConfig, total_steps: int, steps_per_epoch: int) -> None:
        self.options, self.total, self.steps_per_epoch = config, max(1, total_steps), steps_per_epoch
        self.warmup = round(config.warmup_epochs * steps_per_epoch)
        self.reductions, self.best, self.waited = 0, math.inf, 0
        self._share = import_module(f"distalex.optim.schedules.{config.schedule}").share

    def at(self, step: int) -> float:
        """Return the learning rate at `step` (the first is 0), as a share of `optim.lr`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        after_warmup = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        return self._share(Progress(min(1.0, step / self.total), after_warmup, self.reductions), self.options)

    def apply(self, optimizer: torch.optim.Optimizer, epoch: int, step_in_epoch: int) -> float:
        """Set every parameter group's learning rate for a step. Returns the base learning rate.

        The epochs done and the steps of this one place the step, not the optimizer steps done: a run that resumes another's checkpoint
        with a larger batch takes fewer steps for an epoch.
        """
        share = self.at(epoch * self.steps_per_epoch + step_in_epoch)
        for group in optimizer.param_groups:
            group["lr"] = self.options.lr * share * group["lr_multiple"]
        return self.options.lr * share

    def evaluated(self, loss: float) -> None:
        """Reduce the rate after `optim.patience` evaluations without improvement of the test `loss` (Section 5)."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.options.patience and self.reductions < self.options.reductions:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, float]:
        """Return the state that a checkpoint keeps."""
        return {"reductions": self.reductions, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.reductions, self.best, self.waited = int(state["reductions"]), float(state["best"]), int(state["waited"])
