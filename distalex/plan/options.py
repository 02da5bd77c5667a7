"""Options of `plan`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distalex.config.schema import Counts, Int, Section


class PlanOptions(Section):
    """Options of `plan`."""

    config: str = "alexnet_paper"
    """The training configuration to plan for: a path, or the name of a shipped one."""
    world_size: Int | None = Field(None, ge=1, le=65536)
    """Devices. Default: this machine's GPUs or (at most 8) cores; a described machine's devices of one node."""
    machine: str = Field("this", min_length=1)
    """`this` is measured for some seconds, or remembered; a described one is a preset (v100, a100, a100_pcie, h100, h200, rtx4090, cpu)
    or a YAML file (docs/scaling.md)."""
    devices_per_node: Int | None = Field(None, ge=1, le=65536)
    """Devices that share a node, of a described machine. Default: its own."""
    batch_sizes: Counts = Field((128, 256, 1024), min_length=1)
    """Images of a step over all devices, each tried."""
    classes: Int | None = Field(None, ge=2)
    """Number of classes. Default: those of the config's data; 1,000 is assumed where the data are not there to count."""
    precision: Literal["fp32", "bf16"] | None = None
    """Arithmetic. Default: the configuration's."""
    remeasure: bool = False
    """Measure this machine again."""
    out: str | None = None
    """Write the predictions into this JSON file."""
    curve: str | None = None
    """Draw images/s from 1 to 1,024 devices into this image, and print its tables."""
    curve_batch: Int = Field(4096, ge=1)
    """Images of a step over all devices, in the curve that holds them fixed."""

    @model_validator(mode="after")
    def _the_machine_fits(self) -> PlanOptions:
        if self.machine == "this" and (self.curve or self.devices_per_node):
            name = "curve" if self.curve else "devices_per_node"
            raise ValueError(f"{name} goes with a described machine, not machine=this; e.g. --machine=a100")
        if self.machine != "this" and self.remeasure:
            raise ValueError(f"remeasure goes with machine=this, not machine={self.machine}")
        return self
