"""What training changes, and how a checkpoint holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from distalex.config.train import TrainConfig
from distalex.evaluate.evaluation import Evaluation
from distalex.model.network import Network
from distalex.optim.average import MovingAverage
from distalex.optim.schedule import Schedule
from distalex.parallel.shards import Shards
from distalex.runs.checkpoint import FORMAT, are_finite
from distalex.train.epoch_mean import EpochMean
from distalex.train.patience import Patience


@dataclass
class TrainState:
    """The state of training; a checkpoint holds all of it."""

    net: Network
    """The network itself, not wrapped; its parameters are this process's rows of them, as `shards` says."""
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    shards: Shards
    average: MovingAverage | None = None
    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """The epoch that the next step belongs to."""
    step_in_epoch: int = 0
    best_top1: float = -1.0
    best_loss: float = math.inf
    patience: Patience = field(default_factory=Patience)
    left_out: set[int] = field(default_factory=set)
    """Skipped steps, whose loss or gradients were not finite."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What using the weights needs, and resuming: config, classes, colour statistics, side of the stored images, contents of the data."""

    def __post_init__(self) -> None:
        self.epoch_mean = EpochMean(self.shards.mesh)

    def is_done(self, config: TrainConfig) -> bool:
        """Whether all the epochs or steps that `config` asks for are done, or it stops early."""
        return self.epoch >= config.epochs or self.stops_early(config) or (config.max_steps is not None and self.step >= config.max_steps)

    def stops_early(self, config: TrainConfig) -> bool:
        """Whether `train.early_stop` ends the run before its last epoch."""
        return self.epoch < config.epochs and self.patience.is_over(config.early_stop)

    def is_better(self, evaluation: Evaluation) -> bool:
        """Whether an evaluation is better than the best so far: by top-1, and where that is the same, by loss."""
        return (evaluation.top1, -evaluation.loss) > (self.best_top1, -self.best_loss)

    def is_finite(self) -> bool:
        """Whether weights, buffers, moving average and optimizer state of this process are finite. Waits for the device."""
        optimizer = [value for values in self.optimizer.state.values() for value in values.values()]
        return are_finite([*self.shards.tensors(self.net).values(), *(self.average.weights.values() if self.average else ()), *optimizer])

    def state_dict(self) -> dict[str, Any]:
        """The whole network's state on rank 0, joined from all columns; something incomplete elsewhere.

        Every process has to call it.
        """
        return {
            "format": FORMAT,
            "model": self._whole({name: value.detach() for name, value in self.shards.tensors(self.net).items()}),
            "optimizer": self._optimizer_state(),
            "schedule": self.schedule.state_dict(),
            "average": self._whole(self.average.weights) if self.average else {},
            "progress": {
                "step": self.step,
                "epoch": self.epoch,
                "step_in_epoch": self.step_in_epoch,
                "best_top1": self.best_top1,
                "best_loss": self.best_loss,
            },
            "epoch_sums": self.epoch_mean.sums(),
            "left_out": sorted(self.left_out),
            "patience": self.patience.state_dict(),
            **self.metadata,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over this process's part, keeping which steps are left out.

        Raises KeyError or RuntimeError where `state` belongs to another network or optimizer.
        """
        self.shards.load(self.net, state["model"])
        named = self.shards.parameters(self.net)
        self.optimizer.state.clear()
        for name, values in state["optimizer"].items():
            parameter = named[name]
            whole = state["model"][name].shape
            self.optimizer.state[parameter] = {
                key: self._state_on_device(self.shards.part(name, value) if value.shape == whole else value, key, parameter)
                for key, value in values.items()
            }
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            for name, value in self._parts(state["average"] or state["model"]).items():
                self.average.weights[name].copy_(value)
        for name, value in state["progress"].items():
            setattr(self, name, value)
        self.epoch_mean.restore(state.get("epoch_sums", (0.0, 0.0, 0.0)))  # an earlier distalex did not save them
        self.patience.load_state_dict(state.get("patience", {}), self.epoch)
        self.left_out |= set(state.get("left_out", ()))

    @staticmethod
    def _state_on_device(value: Tensor, key: str, parameter: Tensor) -> Tensor:
        """A copy laid out as the parameter is; Adam keeps its count of steps on the CPU with CPU parameters only."""
        if value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return value.to(parameter.device, copy=True) if key != "step" or parameter.device.type == "cuda" else value.clone()

    def _parts(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.shards.part(name, value) for name, value in tensors.items()}

    def _whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor | None]:
        return {name: self.shards.whole(name, value) for name, value in tensors.items()}

    def _optimizer_state(self) -> dict[str, dict[str, Tensor | None]]:
        state = {}
        for name, parameter in self.shards.parameters(self.net).items():
            if parameter in self.optimizer.state:
                state[name] = {
                    key: self.shards.whole(name, value) if value.shape == parameter.shape else value.cpu()
                    for key, value in self.optimizer.state[parameter].items()
                    if value is not None
                }
        return state
