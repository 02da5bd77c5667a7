"""Options of `plan`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distalex.config.command import CommandOptions
from distalex.config.schema import Counts, Int


class PlanOptions(CommandOptions):
    """Predict images/s, bytes sent and memory of every --parallel, on this machine or a described cluster; the fastest first."""

    usage: ClassVar[str] = "python -m distalex.plan [--machine=this|PRESET|FILE.yaml] [--world_size=N] [--OPTION=VALUE …]"

    config: str = "alexnet_paper"
    """Config to plan for: a path, or the name of a shipped one."""
    world_size: Int | None = Field(None, ge=1, le=65536)
    """Number of devices. Default: this machine's GPUs or cores (at most 8), or the devices of one host of a described machine."""
    machine: str = Field("this", min_length=1)
    """`this` machine is measured, which takes about a minute, unless the result is cached. A described one is a preset (v100, a100,
    a100_pcie, h100, h200, rtx4090, cpu) or a YAML file (docs/scaling.md)."""
    devices_per_node: Int | None = Field(None, ge=1, le=65536)
    """Devices of one host of a described machine. Default: as described."""
    batch_sizes: Counts = Field((128, 256, 1024), min_length=1)
    """Global batch sizes to try."""
    classes: Int | None = Field(None, ge=2)
    """Number of classes. Default: those of the config's data; 1,000 is assumed where the data are not there to count."""
    precision: Literal["fp32", "bf16"] | None = None
    """Arithmetic. Default: the config's."""
    remeasure: bool = False
    """Measure this machine again, and replace the cached result."""
    out: str | None = None
    """JSON file to write the predictions to."""
    curve: str | None = None
    """Image file to draw images/s from 1 to 1,024 devices to; its tables are printed."""
    curve_batch: Int = Field(4096, ge=1)
    """`curve`: global batch size of the panel that keeps it fixed."""

    @model_validator(mode="after")
    def _the_machine_fits(self) -> PlanOptions:
        if self.machine == "this" and (self.curve or self.devices_per_node):
            name = "curve" if self.curve else "devices_per_node"
            raise ValueError(f"{name} goes with a described machine, not machine=this; e.g. --machine=a100")
        if self.machine != "this" and self.remeasure:
            raise ValueError(f"remeasure goes with machine=this, not machine={self.machine}")
        return self
