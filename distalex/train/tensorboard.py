"""TensorBoard: the numbers of metrics.jsonl as scalars, KIND/KEY. It may fail without harm; metrics.jsonl is the record."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distalex.config.log import LogConfig
from distalex.config.schema import flatten
from distalex.console import Console
from distalex.errors import UserError
from distalex.evaluate.evaluation import Evaluation


def check_tensorboard(config: LogConfig) -> None:
    """Raise UserError where `log.tensorboard` is on and the package is not installed."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError("log.tensorboard=true: needs the package tensorboard; install it with: pip install tensorboard")


class TensorBoard:
    """Event files in `folder`/tensorboard, written by rank 0; a resumed run hides what an earlier start wrote after `step`."""

    def __init__(self, folder: Path, step: int, console: Console) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.console = console
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Write a row of kind `train` of metrics.jsonl."""
        self._write("train", values, step)

    def log_epoch(self, values: dict[str, Any], step: int) -> None:
        """Write a row of kind `epoch`."""
        self._write("epoch", values, step)

    def log_evaluation(self, evaluation: Evaluation, classes: Sequence[str], step: int) -> None:
        """Write the numbers of an evaluation as kind `eval`."""
        self._write("eval", evaluation.numbers(), step)

    def _write(self, kind: str, values: dict[str, Any], step: int) -> None:
        if self.writer is None:
            return
        try:
            for key, value in flatten(values, separator="/").items():
                if key != "step":
                    self.writer.add_scalar(f"{kind}/{key}", value, step)
            self.writer.flush()
        except Exception as error:  # such as a full disk, which its thread reports here
            self.writer = None
            self.console.say(f"TensorBoard logging stopped ({type(error).__name__}: {error}); metrics.jsonl has everything")

    def finish(self) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()
