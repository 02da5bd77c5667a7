"""Options of `train` besides the config."""

from __future__ import annotations

from pydantic import Field, model_validator

from distalex.config.schema import Int, Section


class DryRunOptions(Section):
    """Options of `train` that show a layout instead of training."""

    dry_run: bool = False
    """Print what each process would hold, keep in memory and send, and start and write nothing."""
    world_size: Int | None = Field(None, ge=1, le=65536)
    """Processes of a dry run. Default: those that torchrun started, or 1."""

    @model_validator(mode="after")
    def _only_a_dry_run_has_a_size(self) -> DryRunOptions:
        if self.world_size is not None and not self.dry_run:
            raise ValueError(
                f"world_size={self.world_size} (command line): torchrun says how many processes train; add --dry_run to see a layout, "
                f"or start with torchrun --nproc_per_node={self.world_size}"
            )
        return self
