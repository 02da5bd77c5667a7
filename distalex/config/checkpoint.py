"""Options of what a run saves."""

from __future__ import annotations

from pydantic import Field

from distalex.config.schema import Int, Section


class CheckpointConfig(Section):
    """What a run keeps."""

    every_epochs: Int = Field(1, ge=0)
    """Epochs between checkpoints; 0: only at the end."""
    every_steps: Int = Field(0, ge=0)
    """Steps between checkpoints besides; 0: none."""
    keep: Int = Field(3, ge=1)
    """How many of the newest checkpoints are kept, besides best.pt."""
    resume: str = "never"
    """`never`: a run that exists is refused. `auto`: go on from its newest good checkpoint, or start. Or the path of a
    checkpoint or run to go on from."""
    remote: str | None = None
    """URL of a folder, of any kind that fsspec knows (s3://bucket/runs, gs://…, sftp://…, file:///…), where a copy of the run is kept:
    options, metrics and the newest checkpoints. With `resume=auto` a machine that lacks the run brings it from there."""
