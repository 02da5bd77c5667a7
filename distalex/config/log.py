"""Options of what a run logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distalex.config.schema import Int, Section


class LogConfig(Section):
    """What a run says."""

    every: Int = Field(10, ge=1)
    """Steps between lines of metrics.jsonl and updates of the progress bar."""
    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Weights & Biases: `offline` needs no account; `online` needs WANDB_API_KEY."""
    project: str = Field("distalex", min_length=1, max_length=128)
    """Weights & Biases' project."""
    images: Int = Field(32, ge=0)
    """Test images, chosen by the seed, of Weights & Biases' table of predictions at the end; 0: no table."""
    artifacts: bool = False
    """Hand the last and the best checkpoint to Weights & Biases too, as versions of one artifact."""
    layers: bool = False
    """Log the norms of each layer's gradients (as applied), weights and updates. The step that is logged takes a copy of the weights."""
