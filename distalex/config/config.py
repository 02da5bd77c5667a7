"""The config of a run: every option that a run depends on.

A run is a function of its config and seed. Sizes are global: `train.batch_size` and `optim.lr` hold for the whole run; what one
process gets is derived from the mesh and never configured.
"""

from __future__ import annotations

import re
from typing import Annotated

import yaml
from pydantic import Field, model_validator

from distalex.config.checkpoint import CheckpointConfig
from distalex.config.choices import OneOf, declared_in, facts_in
from distalex.config.data import DataConfig
from distalex.config.log import LogConfig
from distalex.config.model import NETWORKS, ModelConfig
from distalex.config.optim import OptimConfig
from distalex.config.schema import Device, Int, Section
from distalex.config.train import TrainConfig

MODES = "parallel/modes"
Parallel = Annotated[str, OneOf(MODES, also=(("auto", "The mode that `distalex.plan` predicts to be fastest on this machine."),))]

LABELS = ("name", "runs_dir")
"""Options that say where a run lies, and so differ between any two runs."""


class Config(Section):
    """Everything that a run depends on, in sections; frozen."""

    parallel: Parallel = "data"
    """How the processes divide the network and the batch."""
    seed: Int = Field(0, ge=0, lt=2**32)
    """Random seed for initial weights, sample order, augmentation and dropout."""
    name: str = ""
    """Name of the run and of its folder in `runs_dir`. Default: data set, network and time."""
    runs_dir: str = Field("runs", min_length=1)
    """Folder of the runs."""
    device: Device = "auto"
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    log: LogConfig = Field(default_factory=LogConfig)

    @model_validator(mode="after")
    def _require_consistent(self) -> Config:
        if self.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,127}", self.name):
            raise ValueError(
                f"name={self.name!r}: a name has up to 128 letters, digits and ._+=-, and no folder; e.g. --name=first-run --runs_dir=DIR"
            )
        smallest = self.model.facts.get("SMALLEST", 1)
        if self.data.image_size < smallest:
            fits = [name for name, one in declared_in(NETWORKS).items() if one.facts.get("SMALLEST", 1) <= self.data.image_size]
            other = f", or --model.name={' or '.join(fits)}" if fits else ""
            raise ValueError(
                f"data.image_size={self.data.image_size}: the {self.model.name} network needs {smallest} pixels or more; "
                f"use --data.image_size={smallest}{other}"
            )
        if self.model.batch_norm and self.train.accumulate > 1:
            raise ValueError(
                f"train.accumulate={self.train.accumulate}: batch normalisation needs the whole batch at once; "
                "set it to 1, or model.batch_norm to false"
            )
        if facts_in(MODES, self.parallel).get("DIVIDES_HIDDEN_LAYERS") and not (self.model.fc6 or self.model.fc7):
            raise ValueError(
                f"parallel={self.parallel}: divides fully connected layers, and this network has only its classifier; "
                "give model.fc6 or model.fc7 units, or use parallel=data"
            )
        if self.data.order == "balanced" and self.train.class_weights == "balanced":
            raise ValueError(
                "train.class_weights=balanced: does not go with data.order=balanced, which takes as many images of each class already; "
                "remove one of them"
            )
        if self.model.thaw is not None and facts_in(MODES, self.parallel).get("SHARDS_PARAMETERS"):
            raise ValueError(
                f"parallel={self.parallel}: which parameters learn is fixed when they are sharded, and model.thaw={self.model.thaw} "
                "changes it; remove model.thaw and model.freeze, or use parallel=data"
            )
        if self.train.accumulate > self.train.batch_size:
            raise ValueError(
                f"train.accumulate={self.train.accumulate}: more micro-batches than images of train.batch_size={self.train.batch_size}; "
                "lower it"
            )
        return self

    def dump(self) -> str:
        """Format as YAML, which `load_config` reads back to an equal config."""
        return yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """YAML with texts of several lines, such as a network's file, as they are."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)
