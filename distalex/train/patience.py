"""How long a run has gone on without getting better, by which `train.early_stop` ends it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass
class Patience:
    """The best evaluations at the end of epochs. Those in the middle of one, where a run is interrupted, do not count."""

    top1: float = -1.0
    """The highest top-1 in percent."""
    loss: float = math.inf
    """The lowest loss."""
    best: int = 0
    """Epochs done when the top-1 last rose or the loss last fell."""
    evaluated: int = 0
    """Epochs done at the last evaluation."""

    def take(self, top1: float, loss: float, epoch: int) -> None:
        """Take an evaluation after `epoch` epochs."""
        if top1 > self.top1 or loss < self.loss:
            self.best = epoch
        self.top1, self.loss, self.evaluated = max(top1, self.top1), min(loss, self.loss), epoch

    def is_over(self, epochs: int) -> bool:
        """Return whether the last evaluation came `epochs` epochs or more after the best one; never for 0."""
        return 0 < epochs <= self.evaluated - self.best

    def state_dict(self) -> dict[str, float]:
        """Return the state that a checkpoint keeps."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, float], epoch: int) -> None:
        """Restore what `state_dict` returned; of a checkpoint without it, after `epoch` epochs, begin to count there."""
        vars(self).update(state or {"best": epoch, "evaluated": epoch})
