"""Options of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distalex.config.schema import Float, Int, Section


class TrainConfig(Section):
    """The loop."""

    epochs: Int = Field(90, ge=0)
    """Passes over the training set (Section 5: about 90). 0 only evaluates."""
    max_steps: Int | None = Field(None, ge=1)
    """Stop after this many steps of the whole run."""
    batch_size: Int = Field(128, ge=1)
    """Images of one step over all processes (Section 5: 128)."""
    eval_batch_size: Int | None = Field(None, ge=1)
    """Images of one evaluation batch over all processes. Default: `batch_size`."""
    accumulate: Int = Field(1, ge=1)
    """Parts in which each process goes through its share of a batch, to save memory; the gradient is the same."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; weights, gradients and the loss stay fp32."""
    compile: bool = False
    """Compile the network with torch.compile: slower to start, faster per step where it pays."""
    profile: Int = Field(0, ge=0, le=100)
    """Steps to trace, after the first three: trace-rank0.json in the run's folder, for Perfetto, and a table of layers, loading,
    exchange and optimizer. 0: none."""
    deterministic: bool = False
    """Refuse GPU kernels whose result may differ from run to run."""
    label_smoothing: Float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over all classes."""
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """What a loss that is not finite leads to. `stop`: the run ends at the next line of metrics.jsonl, naming the step. `skip`: that step
    changes nothing. `rollback`: back to the newest checkpoint, and that step changes nothing when it comes again. The last two read
    the loss at every step, which waits for a GPU."""
    clip_norm: Float | None = Field(None, gt=0)
    """Largest norm of the whole network's gradient; a longer one is scaled down."""
    ema: Float | None = Field(None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which evaluation then uses."""
    evaluate_every: Int = Field(1, ge=1)
    """Epochs between evaluations; the last epoch is always evaluated."""
    mirror_test: bool = False
    """Evaluate the mean of each image's and its mirror image's logits."""
    timeout: Float = Field(45.0, ge=1, le=86400)
    """Seconds that processes wait for one that does not answer, once the first steps are done; then they end, and say which it was."""
    threads: Int = Field(0, ge=0, le=1024)
    """CPU threads of each process. 0: the processor's cores shared between the processes."""
