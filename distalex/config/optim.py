"""Options of the optimizer and its schedule."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from distalex.config.choices import OneOf, facts_in
from distalex.config.schema import Float, Floats, Int, Rates, Section


class OptimConfig(Section):
    """The optimizer and its schedule."""

    name: Annotated[str, OneOf("optim/optimizers")] = "sgd"
    """Optimizer."""
    lr: Float = Field(0.01, gt=0, le=100)
    """Learning rate for the global batch (Section 5: 0.01 with batches of 128)."""
    momentum: Float = Field(0.9, ge=0, lt=1)
    """Momentum of `sgd` and `lars` (Section 5: 0.9)."""
    nesterov: bool = False
    """`sgd`: use Nesterov momentum."""
    betas: Floats = (0.9, 0.999)
    """`adam` and `adamw`: decay rates of the two moments."""
    eps: Float = Field(1e-8, gt=0)
    """`adam` and `adamw`: number added to the denominator, for numerical stability."""
    weight_decay: Float = Field(5e-4, ge=0)
    """L2 penalty, scaled by the learning rate in each step; decoupled in `adamw` (Section 5: 0.0005)."""
    trust: Float = Field(0.001, gt=0)
    """`lars`: trust coefficient."""
    bias_lr: Float = Field(1.0, gt=0)
    """Multiple of the learning rate for biases; 2 in the 2012 code."""
    bias_decay: bool = True
    """Apply weight decay to biases; false in the 2012 code."""
    norm_decay: bool = False
    """Apply weight decay to the scales and shifts of normalisation layers."""
    layer_lr: Rates = Field(default_factory=dict)
    """Multiples of the learning rate for named layers, e.g. `fc8:10,conv1:0.1`; `classifier`, `first` and `convolutions` stand for those
    of every network, and a layer's own name comes before them."""
    schedule: Annotated[str, OneOf("optim/schedules")] = "constant"
    """Learning-rate schedule over the run."""
    warmup_epochs: Float = Field(0.0, ge=0)
    """Epochs of linear warm-up before the schedule: step i, from 0, uses (i + 1) / warm-up steps of the rate. 0 with `one_cycle`, which
    starts low itself."""
    milestones: Floats = (0.5, 0.75, 0.9)
    """`step`: shares of the run after which the learning rate is multiplied by `factor`."""
    factor: Float = Field(0.1, gt=0, lt=1)
    """`step` and `plateau`: factor of each reduction of the learning rate (Section 5: 0.1)."""
    patience: Int = Field(3, ge=1)
    """`plateau`: evaluations without a lower test loss before the learning rate is reduced."""
    reductions: Int = Field(3, ge=1)
    """`plateau`: largest number of reductions (Section 5: 3)."""
    peak: Float = Field(0.25, gt=0, lt=1)
    """`one_cycle`: share of the run after which the learning rate is `lr` and starts to fall."""
    final: Float = Field(0.0, ge=0, le=1)
    """`cosine` and `one_cycle`: final learning rate as a share of `lr`."""

    @model_validator(mode="after")
    def _require_consistent(self) -> OptimConfig:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optim.betas={list(self.betas)}: pass two numbers from 0 to below 1, e.g. --optim.betas=0.9,0.999")
        if list(self.milestones) != sorted(self.milestones) or not all(0 < share < 1 for share in self.milestones):
            raise ValueError(
                f"optim.milestones={list(self.milestones)}: pass increasing shares of the run between 0 and 1, "
                "e.g. --optim.milestones=0.5,0.75"
            )
        if self.warmup_epochs and facts_in("optim/schedules", self.schedule).get("WARMS_UP"):
            raise ValueError(
                f"optim.warmup_epochs={self.warmup_epochs:g}: optim.schedule={self.schedule} warms up by itself; "
                "set optim.warmup_epochs to 0"
            )
        return self
