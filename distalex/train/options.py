"""Options of `train` besides the config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from distalex.config.command import CommandOptions
from distalex.config.data import name_at
from distalex.config.loading import shipped_configs
from distalex.config.schema import Int


class TrainOptions(CommandOptions):
    """Train a network and leave a run in runs/NAME."""

    usage: ClassVar[str] = """python -m distalex.train [DIR] [--config=NAME] [--OPTION=VALUE …]
torchrun --standalone --nproc_per_node=2 -m distalex.train --parallel=data --config=digits"""
    sections: ClassVar[tuple[str, ...]] = ("", "model", "data", "optim", "train", "checkpoint", "log")

    words: ClassVar[tuple[str, ...]] = ("root",)

    root: str | None = None
    """Folder, archive or table of the images to train on, recognised by content; short for --data.root=DIR and the `data.name`
    that fits."""
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

    @model_validator(mode="after")
    def _require_something_at_root(self) -> TrainOptions:
        if self.root is not None and not os.path.exists(self.root) and not set("*{") & set(self.root):
            config = f"; a config is given as --config={self.root}" if self.root in shipped_configs() else ""
            raise ValueError(
                f"{self.root}: unexpected argument, as there is no such file or folder of images; options look like --name=value{config}"
            )
        return self

    def overrides(self) -> Mapping[str, str]:
        """The folder as `data.root`, and the `data.name` that fits what lies there; a prepared file as `data.train`."""
        if self.root is None:
            return {}
        if self.root.endswith(".beton"):
            return {"data.name": "beton", "data.train": self.root}
        return {"data.root": self.root, "data.name": name_at(self.root)}
