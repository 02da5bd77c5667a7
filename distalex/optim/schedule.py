"""Learning rate by step."""

from __future__ import annotations

import math

import torch

from distalex.config.optim import OptimConfig


class Schedule:
    """The learning rate of each step of a run, as a share of `optim.lr`."""

    def __init__(self, config: OptimConfig, total_steps: int, steps_per_epoch: int) -> None:
        self.options, self.total = config, max(1, total_steps)
        self.warmup = round(config.warmup_epochs * steps_per_epoch)
        self.reductions, self.best, self.waited = 0, math.inf, 0

    def at(self, step: int) -> float:
        """The share at `step` (from 0) of the run."""
        options = self.options
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, step / self.total)
        match options.schedule:
            case "constant":
                return 1.0
            case "step":
                return options.factor ** sum(done >= share for share in options.milestones)
            case "cosine":
                done = (step - self.warmup) / max(1, self.total - self.warmup)
                return options.final + (1 - options.final) * (1 + math.cos(math.pi * min(1.0, done))) / 2
            case "one_cycle":
                if done < options.peak:
                    return 0.04 + 0.96 * done / options.peak
                return options.final + (1 - options.final) * (1 - done) / (1 - options.peak)
            case "plateau":
                return options.factor**self.reductions

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Set every group's learning rate for `step`; returns that of a plain weight."""
        share = self.at(step)
        for group in optimizer.param_groups:
            group["lr"] = self.options.lr * share * group["rate"]
        return self.options.lr * share

    def evaluated(self, loss: float) -> None:
        """Tell the plateau schedule the test loss (Section 5)."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.options.patience and self.reductions < self.options.reductions:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, float]:
        return {"reductions": self.reductions, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.reductions, self.best, self.waited = int(state["reductions"]), float(state["best"]), int(state["waited"])
