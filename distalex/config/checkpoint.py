"""Options of checkpoints."""

from __future__ import annotations

from pydantic import Field, field_serializer

from distalex.config.schema import Int, Section


def without_credentials(url: str) -> str:
    """`url` without the user name, password and query that it may carry: `s3://key:secret@host/runs?token=…` is `s3://host/runs`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


class CheckpointConfig(Section):
    """Checkpoints and resuming."""

    every_epochs: Int = Field(1, ge=0)
    """Epochs between checkpoints. 0: only at the end."""
    every_steps: Int = Field(0, ge=0)
    """Steps between further checkpoints. 0: none."""
    keep: Int = Field(3, ge=1)
    """Number of latest checkpoints to keep, besides best.pt."""
    resume: str = "never"
    """`never`: refuse a run that exists. `auto`: resume from its latest undamaged checkpoint, or start. Or the path of a checkpoint
    or run to resume from."""
    remote: str | None = None
    """URL of a folder to copy the run to, of any kind that fsspec supports (s3://bucket/runs, gs://…, sftp://…, file:///…): config,
    metrics and the latest checkpoints. With `resume=auto`, a machine without the run downloads it from there. Credentials in the URL
    are not written anywhere."""

    @field_serializer("remote")
    def _without_credentials(self, remote: str | None) -> str | None:
        return None if remote is None else without_credentials(remote)
