"""Options of the optimizer and its schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distalex.config.schema import Float, Floats, Int, Rates, Section


class OptimConfig(Section):
    """The optimizer and its schedule."""

    name: Literal["sgd", "adam", "adamw", "lars"] = "sgd"
    """`sgd` with momentum is the paper's (Section 5)."""
    lr: Float = Field(0.01, gt=0, le=100)
    """Learning rate for the global batch (Section 5: 0.01 at batch 128)."""
    momentum: Float = Field(0.9, ge=0, lt=1)
    """Momentum of sgd and lars (Section 5: 0.9)."""
    nesterov: bool = False
    """Nesterov's form of momentum, for sgd."""
    betas: Floats = (0.9, 0.999)
    """Adam's and AdamW's decay rates of the two moments."""
    eps: Float = Field(1e-8, gt=0)
    """Adam's and AdamW's divisor floor."""
    weight_decay: Float = Field(5e-4, ge=0)
    """L2 penalty (decoupled in adamw), per step and times the learning rate (Section 5: 0.0005)."""
    trust: Float = Field(0.001, gt=0)
    """LARS's trust coefficient."""
    bias_lr: Float = Field(1.0, gt=0)
    """Multiple of the learning rate for biases. The 2012 code has 2."""
    bias_decay: bool = True
    """Whether biases decay. Not in the 2012 code."""
    norm_decay: bool = False
    """Whether scales and shifts of normalisation layers decay."""
    layer_lr: Rates = Field(default_factory=dict)
    """Multiples of the learning rate by layer, e.g. `fc8:10,conv1:0.1`."""
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"] = "constant"
    """`plateau` is the paper's: divide by 10 when the test error stops falling (Section 5)."""
    warmup_epochs: Float = Field(0.0, ge=0)
    """Epochs over which the learning rate rises linearly from 0; not with one_cycle, which has its own."""
    milestones: Floats = (0.5, 0.75, 0.9)
    """`step`: shares of the run after which the rate is multiplied by `factor`."""
    factor: Float = Field(0.1, gt=0, lt=1)
    """`step` and `plateau`: what the rate is multiplied by (Section 5: 0.1)."""
    patience: Int = Field(3, ge=1)
    """`plateau`: evaluations without a lower loss before the rate falls."""
    reductions: Int = Field(3, ge=1)
    """`plateau`: how often the rate may fall (Section 5: three times)."""
    peak: Float = Field(0.25, gt=0, lt=1)
    """`one_cycle`: share of the run at which the rate peaks."""
    final: Float = Field(0.0, ge=0, le=1)
    """`cosine` and `one_cycle`: last rate as a share of `lr`."""

    @model_validator(mode="after")
    def _two_betas(self) -> OptimConfig:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optim.betas={list(self.betas)}: two numbers from 0 to below 1 are needed, e.g. --optim.betas=0.9,0.999")
        if list(self.milestones) != sorted(self.milestones) or not all(0 < share < 1 for share in self.milestones):
            raise ValueError(
                f"optim.milestones={list(self.milestones)}: rising shares of the run, between 0 and 1, are needed, "
                "e.g. --optim.milestones=0.5,0.75"
            )
        return self
