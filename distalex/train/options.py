"""Options of `train` besides the config."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from distalex.config.command import CommandOptions
from distalex.config.schema import Int


class TrainOptions(CommandOptions):
    """Train a network and leave a run in runs/NAME."""

    usage: ClassVar[str] = """python -m distalex.train [--config=NAME] [--OPTION=VALUE …]
torchrun --standalone --nproc_per_node=2 -m distalex.train --parallel=data --config=digits"""
    sections: ClassVar[tuple[str, ...]] = ("", "model", "data", "optim", "train", "checkpoint", "log")

    dry_run: bool = False
    """Print what each process would hold, allocate and send, without starting or writing anything."""
    world_size: Int | None = Field(None, ge=1, le=65536)
    """Number of processes of a dry run. Default: those that torchrun started, or 1."""

    @model_validator(mode="after")
    def _only_a_dry_run_has_a_size(self) -> TrainOptions:
        if self.world_size is not None and not self.dry_run:
            raise ValueError(
                f"world_size={self.world_size} (command line): torchrun sets the number of processes; add --dry_run to see a layout, "
                f"or start with torchrun --nproc_per_node={self.world_size}"
            )
        return self
