"""Saving a run's state while it trains."""

from __future__ import annotations

from distalex.errors import TrainingError
from distalex.parallel.mesh import Mesh
from distalex.runs.writer import Writer
from distalex.train.state import TrainState


class Saver:
    """Writes checkpoints of a run's state by rank 0, in the background, and keeps the newest `keep` besides best.pt.

    `resuming` are the options that resume the run.
    """

    def __init__(self, writer: Writer, mesh: Mesh, keep: int, resuming: str) -> None:
        self.writer, self.mesh, self.keep, self.resuming = writer, mesh, keep, resuming

    def save(self, state: TrainState, best: bool = False, newest: bool = True) -> None:
        """Begin writing step-NNNNNNNN.pt (`newest`), best.pt (`best`), or both as one file. Every rank calls it.

        Where the disk refuses, that is reported, training continues, and the last good checkpoint stays.
        """
        whole = state.state_dict() if newest or best else {}
        if self.mesh.is_first and whole:
            names = ["best.pt"] * best + [f"step-{state.step:08d}.pt"] * newest  # in this order, or a kill between loses the best one
            self.writer.write(whole, names, self.keep, f"no checkpoint at step {state.step}")

    def require_saved(self, state: TrainState) -> None:
        """Wait for the last `save`. Raises TrainingError, on rank 0 alone, where the disk refused it."""
        self.writer.wait()
        if self.writer.refused:
            raise TrainingError(
                f"step {state.step} is not saved ({self.writer.refused}); make room, then resume from the last checkpoint with "
                f"{self.resuming}"
            )
