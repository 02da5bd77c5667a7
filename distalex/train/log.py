"""What a run logs while it trains: lines of metrics.jsonl, Weights & Biases, the progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.profiler import record_function

from distalex.config.config import Config
from distalex.console import Console, duration_text
from distalex.data.batches import Batch
from distalex.evaluate.evaluation import Evaluation
from distalex.machine.precision import arithmetic
from distalex.machine.speed import matmul_peak
from distalex.model.network import count_macs
from distalex.parallel.mesh import Mesh
from distalex.runs.metrics import MetricsFile
from distalex.train.clock import Clock
from distalex.train.layer_norms import LayerNorms
from distalex.train.state import TrainState
from distalex.train.tensorboard import TensorBoard
from distalex.train.wandb import WeightsAndBiases


@dataclass
class StepResult:
    """What one training step returns, still on the device and not yet summed over the replicas."""

    loss_sum: torch.Tensor
    """Scalar: cross-entropy summed over this replica's images."""
    correct: torch.Tensor
    """Scalar: how many of them the network predicts right."""
    images: int
    """Of the whole step, over all replicas."""
    lr: float
    norms: LayerNorms | None = None
    """With `log.layers`, where the step is one that is logged."""


class StepLog:
    """Collects steps into a window and logs it every `log.every` steps; only then it reads from the device."""

    def __init__(self, config: Config, mesh: Mesh, console: Console, metrics: MetricsFile) -> None:
        self.config, self.mesh, self.console, self.metrics = config, mesh, console, metrics
        self.wandb: WeightsAndBiases | None = None
        self.tensorboard: TensorBoard | None = None
        self._trained = "-", "-"  # mean loss and top-1 of the epoch that has ended, as printed
        self.own_peak = 0.0
        """FLOP/s of this process in matrix products."""
        self._peak, self._flops = 1.0, 0.0
        self.start_window()

    def start_window(self) -> None:
        """Forget the steps since the last line, as after an evaluation or a checkpoint, whose time belongs to no step."""
        self._start, self._waited, self._images, self._steps = time.perf_counter(), 0.0, 0, 0
        self.mesh.traffic.take_seconds()

    def measure_peak(self, classes: int) -> None:
        """Measure what all processes reach in matrix products, and count what an image takes: forward, and twice that backward."""
        train, device = self.config.train, self.mesh.device
        self._flops = 3 * 2 * count_macs(self.config.model, classes, self.config.data.image_size)
        self.own_peak = matmul_peak(device, arithmetic(train.precision, device))
        own = torch.tensor(self.own_peak, dtype=torch.float64, device=device)
        self._peak = float(self.mesh.sum_over_columns(self.mesh.sum(own)))

    def next_batch(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch, or None after the last; the time that it is waited for counts as data wait."""
        asked = time.perf_counter()
        with record_function("loading"):
            batch = next(batches, None)
        self._waited += time.perf_counter() - asked
        return batch

    def is_due(self, state: TrainState, steps_per_epoch: int) -> bool:
        """Whether the step just done ends a window: every `log.every` steps, at the end of an epoch and at that of the run."""
        return state.step % self.config.log.every == 0 or state.step_in_epoch == steps_per_epoch or state.is_done(self.config.train)

    def add(self, result: StepResult) -> None:
        """Take one step into the window."""
        self._images, self._steps = self._images + result.images, self._steps + 1

    def mean_over_replicas(self, result: StepResult) -> tuple[float, float]:
        """The step's mean loss and share of right predictions over all replicas. A collective, which waits for the device."""
        sums = torch.stack([result.loss_sum.float(), result.correct.float()]).double()
        loss, correct = (value / result.images for value in self.mesh.sum(sums).tolist())
        return loss, correct

    def write(self, result: StepResult, state: TrainState, steps_per_epoch: int, loss: float, correct: float) -> None:
        """Log the window that `result` ends, on rank 0, and start the next."""
        values = self._values(result, state, loss, correct)
        if self.mesh.is_first:
            self.metrics.write("train", {**values, "time": round(time.time(), 3)})
            for other in self._others():
                other.log(values, state.step)
        self.clock.add_steps(self._steps, self._images, time.perf_counter() - self._start)
        self.console.progress(
            f"epoch {state.epoch + 1}/{self.config.train.epochs}",
            state.step_in_epoch,
            steps_per_epoch,
            f"loss {loss:.3f}  top-1 {100 * correct:.1f} %  {values['images_per_second']:,.0f} images/s  "
            f"data wait {100 * values['data_wait_fraction']:.0f} %  run: {duration_text(self.clock.left(state))} left",
        )
        self.start_window()

    def _values(self, result: StepResult, state: TrainState, loss: float, correct: float) -> dict[str, Any]:
        """A line of metrics.jsonl (docs/run-directory.md)."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        rate, traffic = self._images / seconds, self.mesh.traffic
        exposed = {
            purpose: waited / seconds for purpose, waited in traffic.take_seconds().items() if purpose not in traffic.NOT_IN_COMM_BYTES
        }
        return {
            "step": state.step,
            "epoch": state.epoch + 1,
            "loss": loss,
            "top1": 100.0 * correct,
            "images": result.images,
            "lr": result.lr,
            "images_per_second": rate,
            "left_out": len(state.left_out),
            "mfu": rate * self._flops / self._peak,
            "data_wait_fraction": self._waited / seconds,
            "comm_bytes": traffic.bytes,
            "comm_exposed_fraction": sum(exposed.values()),
            "comm_bytes_by": dict(traffic.sent),
            "comm_exposed_by": exposed,
            **self._kind_of_loss(),
            **(result.norms.numbers() if result.norms else {}),
        }

    def _kind_of_loss(self) -> dict[str, bool]:
        """Mark rows whose loss is weighted by class."""
        return {} if self.config.train.class_weights == "none" else {"weighted": True}

    def write_epoch(self, state: TrainState) -> None:
        """Log the training images' mean loss and top-1 in the epoch that has just ended, and start the next. A collective."""
        loss, correct, images = state.epoch_mean.sums()
        state.epoch_mean.start()
        if not images:  # every step was left out
            return
        values = {"step": state.step, "epoch": state.epoch, "loss": loss / images, "top1": 100.0 * correct / images, "images": int(images)}
        values |= self._kind_of_loss()
        self._trained = f"{values['loss']:.4f}", f"{values['top1']:.2f} %"
        if self.mesh.is_first:
            self.metrics.write("epoch", values)
            for other in self._others():
                other.log_epoch(values, state.step)

    def write_evaluation(self, evaluation: Evaluation, state: TrainState) -> None:
        """Log an evaluation after `state.epoch` whole epochs, on rank 0; a finished run that is resumed has logged it already."""
        self.clock.add_evaluation(time.perf_counter() - self._start)
        if self.mesh.is_first and not self.metrics.has_eval(state.step):
            self.metrics.write("eval", {"step": state.step, "epoch": state.epoch, **evaluation.numbers()})
            for other in self._others():
                other.log_evaluation(evaluation, state.metadata["classes"], state.step)
        self.start_window()

    def print_head(self, clock: Clock, classes: int) -> None:
        """Print the head of the table of epochs, and take the run's clock. `classes`: top-5 is shown where there are more than five."""
        self.clock, self._has_top5 = clock, classes > 5
        config, tested = self.config, self.config.data.tested_on
        top5 = (("top-5", 10),) if self._has_top5 else ()
        widths = max(8, 2 * len(str(config.train.epochs)) + 5), 12 if tested == "test" else 17
        self.head = (
            *(("epoch", widths[0]), ("step", 10), ("train loss", 12), ("top-1", 10), (f"{tested} loss", widths[1]), ("top-1", 10)),
            *(*top5, ("images/s", 10), ("time", 13), ("left", 13)),
        )
        self._print_row([name for name, _ in self.head])

    def print_epoch(self, state: TrainState, evaluation: Evaluation | None) -> None:
        """Print a row of the table: an epoch that has ended, or the evaluation that ends the run in the middle of one. A collective."""
        clock, epochs = self.clock, self.config.train.epochs
        self.console.done(f"epoch {state.epoch + bool(state.step_in_epoch)}/{epochs}")
        epoch = f"in {state.epoch + 1}/{epochs}" if state.step_in_epoch else f"{state.epoch}/{epochs}"
        if state.step_in_epoch:
            loss, correct, images = state.epoch_mean.sums()
            self._trained = (f"{loss / images:.4f}", f"{100.0 * correct / images:.2f} %") if images else self._trained
        tested = ["-", "-", "-"]
        if evaluation is not None:
            tested = [f"{evaluation.loss:.4f}", f"{evaluation.top1:.2f} %", f"{evaluation.top5:.2f} %"]
        rate = f"{clock.images_per_second:,.0f}" if clock.images_per_second else "-"
        times = duration_text(clock.epoch_seconds), duration_text(clock.left(state))
        self._print_row([epoch, f"{state.step:,}", *self._trained, *tested[: 2 + self._has_top5], rate, *times])
        self._trained = "-", "-"
        clock.start_epoch()

    def _print_row(self, cells: Sequence[str]) -> None:
        self.console.say("".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, self.head, strict=True)).rstrip())

    def _others(self) -> list[WeightsAndBiases | TensorBoard]:
        """Where rows go besides metrics.jsonl."""
        return [other for other in (self.wandb, self.tensorboard) if other is not None]
