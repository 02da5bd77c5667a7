"""How long a run's steps and evaluations take, and how long what is left of it will."""

from __future__ import annotations

import math
import time

from distalex.config.train import TrainConfig
from distalex.train.state import TrainState

EVALUATION = 1 / 3
"""Time of an image in an evaluation as a share of that in a step, until one is measured: the forward pass alone."""


class Clock:
    """Seconds of steps and evaluations of this start of a run.

    Args:
        config: how many epochs and evaluations there are.
        steps_per_epoch: steps of one epoch.
        tested: images of the test set as a share of those of an epoch.
    """

    def __init__(self, config: TrainConfig, steps_per_epoch: int, tested: float) -> None:
        self.config, self.steps_per_epoch = config, steps_per_epoch
        self._of_step = self._of_evaluation = math.nan
        self._windows = 0
        self._guessed = EVALUATION * tested * steps_per_epoch
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start to count the epoch's time, images and seconds of steps."""
        self._since, self._images, self._stepping = time.perf_counter(), 0, 0.0

    def add_steps(self, steps: int, images: int, seconds: float) -> None:
        """Count steps that took so long. The first ones of a start compile and measure, so the next ones replace their time."""
        each = seconds / max(steps, 1)
        self._of_step = each if self._windows < 2 or math.isnan(self._of_step) else 0.8 * self._of_step + 0.2 * each
        self._windows, self._images, self._stepping = self._windows + 1, self._images + images, self._stepping + seconds

    def add_evaluation(self, seconds: float) -> None:
        """Count an evaluation that took so long."""
        self._of_evaluation = seconds

    @property
    def epoch_seconds(self) -> float:
        """Seconds since the epoch began."""
        return time.perf_counter() - self._since

    @property
    def images_per_second(self) -> float:
        """Training images of the epoch by the time of its steps."""
        return self._images / max(self._stepping, 1e-9)

    def left(self, state: TrainState) -> float:
        """Return the seconds until the run's end, evaluations included; NaN before the first steps are measured."""
        config = self.config
        if state.is_done(config):
            return 0.0
        steps = config.epochs * self.steps_per_epoch - state.epoch * self.steps_per_epoch - state.step_in_epoch
        if config.max_steps is not None:
            steps = min(steps, config.max_steps - state.step)
        evaluations = math.ceil(steps / self.steps_per_epoch / config.evaluate_every)
        evaluation = self._guessed * self._of_step if math.isnan(self._of_evaluation) else self._of_evaluation
        return steps * self._of_step + evaluations * evaluation
