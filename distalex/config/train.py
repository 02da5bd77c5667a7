"""Options of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distalex.config.schema import Float, Int, Section, WeightsByName, plain_text

BYTES = {"fp32": 4, "bf16": 2}
"""Of a number, by precision."""


class TrainConfig(Section):
    """The training loop."""

    epochs: Int = Field(90, ge=0)
    """Passes over the training set (Section 5: about 90). 0: only evaluate."""
    early_stop: Int = Field(0, ge=0)
    """Stop after this many epochs in which neither the test top-1 rose nor the test loss fell; best.pt has the best top-1. 0: never.
    Schedules still follow `epochs`."""
    max_steps: Int | None = Field(None, ge=1)
    """Stop after this many steps, counted from the start of the run."""
    batch_size: Int = Field(128, ge=1)
    """Global batch size: images per step over all processes (Section 5: 128)."""
    eval_batch_size: Int | None = Field(None, ge=1)
    """Global batch size of evaluation. Default: `batch_size`."""
    accumulate: Int = Field(1, ge=1)
    """Gradient accumulation: micro-batches per step. Saves memory; the gradient is the same."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; weights, gradients and the loss are fp32."""
    reduce_precision: Literal["fp32", "bf16"] = "fp32"
    """Precision in which replicas send and sum gradients. bf16 halves the bytes and rounds each sum to 8 bits; weights stay fp32."""
    compile: bool = False
    """Compile the network with torch.compile: a slower start, often faster steps."""
    profile: Int = Field(0, ge=0, le=100)
    """Number of steps to profile, after the first three: writes trace-rank0.json into the run's folder, for Perfetto, and prints a
    table of layers, loading, communication and optimizer. A GPU's steps are then not replayed as a CUDA graph. 0: none."""
    deterministic: bool = False
    """Use only GPU kernels with the same result in every run."""
    label_smoothing: Float = Field(0.0, ge=0, lt=1)
    """Label smoothing: share of the target spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] | WeightsByName = "none"
    """Weight of each class in the loss, for sets that lean: `balanced`, images / (classes x images of the class), as in scikit-learn; or
    by name, `cat:1,dog:3`, 1 for classes not named. The loss is the weighted mean over the global batch, as that of
    torch.nn.CrossEntropyLoss(weight), in which a mixed image has its share of both labels' weights. Evaluation is not weighted."""
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """Action on a loss that is not finite. `stop`: fail at the next row of metrics.jsonl, with the step. `skip`: leave the weights
    unchanged in that step. `rollback`: restore the latest checkpoint and skip that step when it is reached again. `skip` and `rollback`
    check loss and gradients of every step, which synchronises with a GPU; `stop` checks the loss. No mode saves a state that is not
    finite."""
    clip_norm: Float | None = Field(None, gt=0)
    """Gradient clipping: largest L2 norm of the whole network's gradient."""
    ema: Float | None = Field(None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which evaluation uses."""
    evaluate_every: Int = Field(1, ge=1)
    """Epochs between evaluations; the last epoch is always evaluated."""
    mirror_test: bool = False
    """Evaluate on the mean of the logits of each image and of its mirror image."""
    timeout: Float = Field(45.0, ge=1, le=86400)
    """Collective time-out in seconds, after the first steps. Processes that waited longer fail and name the rank that did not respond."""
    threads: Int = Field(0, ge=0, le=1024)
    """CPU threads per process. 0: the cores of the host divided by its processes."""

    @model_validator(mode="after")
    def _require_positive_weights(self) -> TrainConfig:
        if isinstance(self.class_weights, dict) and not all(weight > 0 for weight in self.class_weights.values()):
            raise ValueError(f"train.class_weights={plain_text(self.class_weights)}: weights above 0 are needed, e.g. cat:1,dog:3")
        return self
