"""Options of logging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from distalex.config.schema import Int, Section


class LogConfig(Section):
    """Logging."""

    earlier: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    every: Int = Field(10, ge=1)
    """Steps between rows of metrics.jsonl and updates of the progress bar."""
    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Weights & Biases mode. `offline` needs no account; `online` needs WANDB_API_KEY."""
    project: str = Field("distalex", min_length=1, max_length=128)
    """Weights & Biases project."""
    tensorboard: bool = False
    """Log the same numbers for TensorBoard, into RUN/tensorboard. Needs the package tensorboard."""
    report: bool = True
    """Write RUN/report.html at the end of the run, with predictions of some test images."""
    images: Int = Field(32, ge=0)
    """Number of test images in the Weights & Biases table of predictions, logged at the end; chosen by the seed. 0: no table."""
    artifacts: bool = False
    """Upload the latest and the best checkpoint to Weights & Biases as versions of one artifact."""
    layers: bool = False
    """Log the norms of each layer's gradients (after clipping), weights and updates. A logged step copies the weights."""
