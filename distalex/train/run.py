"""A run's folder: refused or resumed before work starts, then written by rank 0 alone."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import torch
from torch.autograd.profiler import record_function

from distalex import __version__
from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.config.schema import flatten
from distalex.console import Console
from distalex.data.batches import Batch
from distalex.data.open import Data
from distalex.errors import TrainingError, UserError
from distalex.evaluate.evaluation import Evaluation
from distalex.machine.description import computes_on, describe_machine
from distalex.machine.precision import arithmetic
from distalex.machine.speed import matmul_peak, memory_speed
from distalex.model.alexnet import count_macs
from distalex.parallel.mesh import Mesh
from distalex.predict.predictions import Prediction, predict, some_of
from distalex.runs.checkpoint import find, load, load_newest, newest_first, step_of
from distalex.runs.metrics import MetricsFile
from distalex.runs.remote import Remote
from distalex.runs.resuming import MAY_CHANGE
from distalex.runs.trained import load_trained
from distalex.runs.writer import Writer
from distalex.train.layer_norms import LayerNorms
from distalex.train.roofline import Limits
from distalex.train.state import TrainState
from distalex.train.trace import Trace
from distalex.train.wandb import WeightsAndBiases, check_wandb

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals after which a run saves and ends: what people and schedulers send."""
ORDERED_BY = (
    "seed",
    "train.batch_size",
    *(f"data.{key}" for key in ("name", "dataset", "train", "order", "holdout", "validation", "fraction")),
)
"""Options that say which images each step of an epoch sees."""
MOST_LEFT_OUT = 20  # steps whose loss was not finite, before a run that rolls back gives up
LAST_COPY = 600.0  # seconds for a run's last copy elsewhere
LAST_COPY_STOPPED = 10.0  # where a signal has told the run to end


@dataclass
class StepResult:
    """What one training step leaves, still on the device and not yet summed over the replicas."""

    loss_sum: torch.Tensor
    correct: torch.Tensor
    images: int
    """Of the whole step, over all replicas."""
    lr: float
    sizes: LayerNorms | None = None
    """Where `log.layers` asks for them and the step is one that is logged."""


def _differences(before: dict[str, Any], now: dict[str, Any], options: Iterable[str]) -> str:
    return ", ".join(f"{option} was {before[option]} and is {now[option]}" for option in options)


class Run:
    """The folder `runs_dir/name`, its metrics, checkpoints and progress."""

    def __init__(self, config: Config, mesh: Mesh, console: Console) -> None:
        """Looks, but creates nothing. Raises UserError where the folder is another run's."""
        check_wandb(config.log.wandb)
        options = config.data
        name = config.name or mesh.from_first(f"{options.name}-{config.model.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        self.config = config.model_copy(update={"name": name})
        self.mesh, self.console = mesh, console
        self.folder = Path(config.runs_dir) / name
        self.metrics = MetricsFile(self.folder / "metrics.jsonl", self.say)
        remote = config.checkpoint.remote
        self.remote = Remote(remote, name, self.say) if remote else None
        self.resumed = self._find_checkpoint()
        self.wandb: WeightsAndBiases | None = None
        self.trace: Trace | None = None
        self.stop_signal: int | None = None
        self.began, self.has_stepped = False, False
        self.first_bad_step: torch.Tensor | None = None
        self.lock: TextIO | None = None
        self.writer = Writer(self.folder / "checkpoints", self.say, self._copy_away)
        self._restart_window()

    def _find_checkpoint(self) -> dict[str, Any] | None:
        """The state to go on from, if any."""
        resume = self.config.checkpoint.resume
        if self.remote:
            self._bring_copy(self.remote, resume)
        exists = self._exists()
        if resume == "auto":
            if not exists:
                return None
            self._check_same_run()
            return load_newest(self.folder / "checkpoints", self.console.say)
        if resume == "never":
            if exists:
                raise UserError(
                    f"name={self.config.name}: {self.folder}/ exists; choose another --name, or go on with --checkpoint.resume=auto"
                )
            return None
        path = find(resume, self.config.runs_dir)
        if exists and path.parent.parent.resolve() != self.folder.resolve():
            raise UserError(
                f"name={self.config.name}: {self.folder}/ exists and is not what checkpoint.resume={resume} "
                "belongs to; choose another --name"
            )
        state = load(path)
        self._check_same_order(path, state)
        return state

    def _exists(self) -> bool:
        return self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir()))

    def _bring_copy(self, remote: Remote, resume: str) -> None:
        """Where the run goes on, bring what its copy has beyond the folder; where it is a new one, refuse to overwrite another's copy."""
        if resume != "auto":
            remote.require_new()
            return
        if self._exists():
            self._check_same_run()
        if self.mesh.topology.local_rank == 0:
            remote.fetch(self.folder)
        self.mesh.barrier()

    def _copy_away(self) -> None:
        if self.remote:
            self.remote.push(self.folder)

    def _check_same_run(self) -> None:
        path = self.folder / "config.yaml"
        if not path.is_file():
            raise UserError(f"checkpoint.resume=auto: {self.folder}/ has no config.yaml and is not a run; choose another --name")
        before, now = (flatten(values.model_dump(mode="json")) for values in (load_config(str(path)), self.config))
        changed = [key for key in now if before[key] != now[key] and not key.startswith(MAY_CHANGE)]
        if changed:
            raise UserError(
                f"checkpoint.resume=auto: {self.folder}/ was started otherwise: {_differences(before, now, changed[:4])}; keep these, "
                "or choose another --name"
            )

    def _check_same_order(self, path: Path, state: dict[str, Any]) -> None:
        """What is left of an epoch that `state` stands in is known by its order alone."""
        done = state["progress"]["step_in_epoch"]
        before, now = flatten(state["config"]), flatten(self.config.model_dump(mode="json"))
        changed = [key for key in ORDERED_BY if before.get(key, now[key]) != now[key]]
        if done and changed:
            resume = self.config.checkpoint.resume
            raise UserError(
                f"checkpoint.resume={resume}: {path.name} stands {done} steps into an epoch, and {_differences(before, now, changed)}, so "
                f"what is left of it is another order's; keep these, or start from its weights with --model.weights={resume}"
            )

    def begin(self, state: TrainState) -> None:
        """Create the folder, or restore `state` from what is there. Raises UserError where that does not fit."""
        if self.resumed is not None:
            try:
                state.load_state_dict(self.resumed)
            except (KeyError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"checkpoint.resume={self.config.checkpoint.resume}: it belongs to another network or optimizer ({reason})"
                ) from None
            self.resumed = None
            if self.mesh.any(state.step != self.mesh.from_first(state.step)):
                raise UserError(
                    f"{self.folder}: rank {self.mesh.rank} found step {state.step} and other ranks another one; the folder of runs "
                    "has to be the same for all nodes: give a shared one with --runs_dir=DIR"
                )
            self.say(f"going on from step {state.step:,} (epoch {state.epoch + 1})")
        if problem := self.mesh.from_first(self._claim() if self.mesh.is_first else ""):
            raise UserError(problem)
        if self.mesh.is_first:
            try:
                (self.folder / "config.yaml").write_text(self.config.dump(), encoding="utf-8")
                self._note_start(state.step)
            except OSError as error:
                raise UserError(self._unwritable(error)) from None
            for half in self.folder.rglob("*.partial"):  # written when the job before was killed
                half.unlink(missing_ok=True)
            self.metrics.rewind(state.step, state.epoch)
            for later in newest_first(self.folder / "checkpoints"):
                if step_of(later) > state.step:  # damaged, or of a branch that this run leaves
                    later.rename(later.with_suffix(".stale"))
            self.wandb = WeightsAndBiases(self.config, self.folder, self.console)
        self.began = True
        if state.step == 0 and self.config.train.on_nonfinite == "rollback":
            self.save(state)  # so that there is something to go back to
        self._measure_peak(len(state.described["classes"]))
        if self.config.train.profile:
            device = self.mesh.device
            limits = Limits(self.own_peak, memory_speed(device))
            self.trace = Trace(self.config.train.profile, state.net, state.optimizer, self.folder, self.mesh.rank, device, limits)
        self._restart_window()

    def _note_start(self, step: int) -> None:
        """Add what the run goes on with from `step`, one JSON object, to starts.jsonl."""
        mesh, topology = self.mesh, self.mesh.topology
        start = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": step,
            "parallel": mesh.parallel,
            "processes": topology.world_size,
            "processes_a_node": topology.local_world_size,
            "replicas": mesh.replicas,
            "columns": mesh.columns,
            "device": computes_on(mesh.device),
            "threads": torch.get_num_threads(),
            "arithmetic": str(arithmetic(self.config.train.precision, mesh.device)).removeprefix("torch."),
            "host": socket.gethostname(),
            "distalex": __version__,
            **describe_machine(),
        }
        with open(self.folder / "starts.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(start) + "\n")

    def _claim(self) -> str:
        """Lock the folder for this job, or say why not. The lock ends with the process, however that ends."""
        path = self.folder.with_name(f".{self.folder.name}.lock")
        try:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            self.lock = open(path, "a+")  # noqa: SIM115
        except OSError as error:
            return self._unwritable(error)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.seek(0)
            owner = self.lock.read().strip() or "which does not say whose"
            self.lock.close()
            self.lock = None
            return f"name={self.config.name}: {self.folder}/ is another job's, {owner}; wait for it, or choose another --name"
        except OSError as error:
            self.say(f"{path}: this file system has no locks ({error.strerror}); see to it that one job alone uses the folder")
        if not path.exists() or not os.path.samestat(os.fstat(self.lock.fileno()), path.stat()):
            self.lock.close()  # its job has just ended and taken it away
            return self._claim()
        self.lock.truncate(0)
        self.lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self.lock.flush()
        return ""

    def release(self) -> None:
        """Let others have the folder."""
        if self.lock is not None:
            Path(self.lock.name).unlink(missing_ok=True)  # while it is still held
            self.lock.close()
            self.lock = None

    def _unwritable(self, error: OSError) -> str:
        return f"{self.folder}: cannot be written ({error.strerror}); give another place with --runs_dir=DIR"

    def _measure_peak(self, classes: int) -> None:
        """What all processes together reach in matrix products, and what an image takes: forward, and twice that backward."""
        train = self.config.train
        self.flops = 3 * 2 * count_macs(self.config.model, classes, self.config.data.image_size)
        self.own_peak = matmul_peak(self.mesh.device, arithmetic(train.precision, self.mesh.device))
        own = torch.tensor(self.own_peak, dtype=torch.float64, device=self.mesh.device)
        self.peak = float(self.mesh.sum_over_columns(self.mesh.sum(own)))

    def say(self, line: str) -> None:
        self.console.say(line)

    def steps(self, batches: Iterator[Batch], state: TrainState) -> Iterator[Batch]:
        """The epoch's batches until it, `train.max_steps` or a signal ends them, timing how long each is waited for."""
        try:
            while not self.ended(state) and not self.stop_requested():
                self.mesh.traffic.start_step()
                asked = time.perf_counter()
                with record_function("loading"):
                    batch = next(batches, None)
                self.window_wait += time.perf_counter() - asked
                if batch is None:
                    return
                yield batch
        finally:
            batches.close()  # type: ignore[attr-defined]

    def ended(self, state: TrainState) -> bool:
        """Whether `state` has done all the epochs or steps that the configuration asks for."""
        options = self.config.train
        return state.epoch >= options.epochs or (options.max_steps is not None and state.step >= options.max_steps)

    def log(self, result: StepResult, state: TrainState, steps_per_epoch: int) -> None:
        """Take in one step. Reads from the device, and sums over replicas, every `log.every` steps only."""
        self._note_first_bad_step(result.loss_sum, state.step)
        if self.trace and (table := self.trace.step()):
            self.say(table)
        self.window_images += result.images
        if not self.has_stepped:  # which takes the longest, as much is compiled and measured first
            self.has_stepped = True
            self.mesh.expect_answers_within(self.config.train.timeout)
        if state.step % self.config.log.every and state.step_in_epoch != steps_per_epoch and not self.ended(state):
            return
        sums = torch.stack([result.loss_sum.float(), result.correct.float()]).double()
        loss_sum, correct = (value / result.images for value in self.mesh.sum(sums).tolist())
        seconds = max(time.perf_counter() - self.window_start, 1e-9)
        traffic = self.mesh.traffic
        exposed = {purpose: waited / seconds for purpose, waited in traffic.take_seconds().items() if purpose not in traffic.APART}
        values = {
            "step": state.step,
            "epoch": state.epoch + 1,
            "loss": loss_sum,
            "top1": 100.0 * correct,
            "lr": result.lr,
            "images_per_second": self.window_images / seconds,
            "left_out": len(state.left_out),
            "mfu": self.window_images / seconds * self.flops / self.peak,
            "data_wait_fraction": self.window_wait / seconds,
            "comm_bytes": traffic.bytes,
            "comm_exposed_fraction": sum(exposed.values()),
            "comm_bytes_by": dict(traffic.sent),
            "comm_exposed_by": exposed,
        }
        if result.sizes:
            values |= result.sizes.numbers()
        if self.config.train.on_nonfinite == "stop":
            self._raise_if_not_finite(loss_sum)
        if self.mesh.is_first:
            self.metrics.write("train", values)
            if self.wandb:
                self.wandb.log(values, state.step)
        self.console.progress(
            f"epoch {state.epoch + 1}/{self.config.train.epochs}",
            state.step_in_epoch,
            steps_per_epoch,
            f"loss {loss_sum:.3f}  top-1 {100 * correct:.1f} %  {values['images_per_second']:,.0f} images/s  "
            f"data wait {100 * values['data_wait_fraction']:.0f} %",
        )
        self._restart_window()

    def record(self, evaluation: Evaluation, state: TrainState) -> None:
        """An evaluation after `state.epoch` whole epochs."""
        values = evaluation.numbers()
        row = {"step": state.step, "epoch": state.epoch, **values}
        if self.mesh.is_first and not self.metrics.has_eval(state.step):  # a finished run that is resumed has it
            self.metrics.write("eval", row)
            if self.wandb:
                self.wandb.log_evaluation(evaluation, state.described["classes"], state.step)
        self.console.done(f"epoch {state.epoch}/{self.config.train.epochs}")
        self.say(
            f"epoch {state.epoch}/{self.config.train.epochs}  step {state.step:,}: {self.config.data.tested_on} "
            f"top-1 {values['top1']:.2f} %  top-5 {values['top5']:.2f} %  loss {values['loss']:.4f}  ({values['count']:,} images)"
        )
        self._restart_window()

    def save(self, state: TrainState, best: bool = False, newest: bool = True) -> None:
        """Have the newest checkpoint, the best, or both in one file written, while training goes on; the newest few are kept.

        Where the disk refuses, the run says so and goes on; the last good one stays.
        """
        whole = state.state_dict() if newest or best else {}
        if self.mesh.is_first and whole:
            names = [f"step-{state.step:08d}.pt"] * newest + ["best.pt"] * best
            self.writer.write(whole, names, self.config.checkpoint.keep, f"no checkpoint at step {state.step}")
        self._restart_window()

    def require_saved(self, state: TrainState) -> None:
        """Wait for what `save` began. Raises TrainingError where the disk refused it; on rank 0 alone, which writes."""
        self.writer.wait()
        if self.writer.refused:
            raise TrainingError(
                f"step {state.step} is not saved ({self.writer.refused}); make room and start again with --name={self.config.name} "
                "--checkpoint.resume=auto, which goes on from the last checkpoint"
            )

    def show(self, data: Data, step: int) -> None:
        """Weights & Biases' table of predictions and copies of checkpoints, from the files of a run that is done; by rank 0 alone."""
        if self.wandb is None:
            return
        folder = self.folder / "checkpoints"
        last, best = folder / f"step-{step:08d}.pt", folder / "best.pt"

        def look() -> tuple[list[Prediction], torch.Tensor]:
            images, names, actual = some_of(data, self.config.seed, self.config.log.images)
            return predict(load_trained(str(last), self.config.runs_dir), images, names, actual), images

        if self.config.log.images:
            self.wandb.log_predictions(look, step)
        if self.config.log.artifacts:
            same = best.samefile(last) if best.exists() else True
            files = {last: ["last", "best"]} if same else {last: ["last"], best: ["best"]}
            self.wandb.keep(files, {"name": self.config.data.name, "described": data.describe()}, self.config.data.name)

    def roll_back(self, state: TrainState) -> None:
        """Restore `state` from the newest checkpoint; the step that it stands at will change nothing when it comes again.

        Raises TrainingError where there is none, or where it has happened too often.
        """
        bad = state.step
        state.left_out.add(bad)
        self.writer.wait()
        self.mesh.barrier()
        found = load_newest(self.folder / "checkpoints", self.say)
        if found is None or len(state.left_out) > MOST_LEFT_OUT:
            why = "no checkpoint is left to go back to" if found is None else f"{len(state.left_out)} steps were left out already"
            raise TrainingError(f"the loss of step {bad} is not finite, and {why}; {self._remedies()}")
        state.load_state_dict(found)
        if self.mesh.is_first:
            self.metrics.rewind(state.step, state.epoch)
        self.say(f"the loss of step {bad:,} is not finite: back to step {state.step:,}, and that step will change nothing")
        self._restart_window()

    def stop_requested(self) -> bool:
        """Whether any rank was told to stop; asked by every rank at every step."""
        self.mesh.beat()
        return self.mesh.any(self.stop_signal is not None)

    def _restart_window(self) -> None:
        self.window_start, self.window_wait, self.window_images = time.perf_counter(), 0.0, 0
        self.mesh.traffic.take_seconds()

    def _note_first_bad_step(self, loss: torch.Tensor, step: int) -> None:
        """Remember, on the device and without waiting for it, the first step whose loss is not finite."""
        if self.first_bad_step is None:
            self.first_bad_step = torch.zeros((), device=loss.device, dtype=torch.int64)
        bad = (self.first_bad_step == 0) & ~torch.isfinite(loss)
        self.first_bad_step = torch.where(bad, step, self.first_bad_step)

    def _raise_if_not_finite(self, loss: float) -> None:
        if loss != loss or loss in (float("inf"), float("-inf")):
            step = int(self.first_bad_step or 0)
            raise TrainingError(f"the loss is not finite (first at step {step or 'another rank'}); {self._remedies()}")

    def _remedies(self) -> str:
        return (
            f"lower optim.lr={self.config.optim.lr:g}, add optim.warmup_epochs or train.clip_norm, or see that model.init and "
            "data.normalize go together"
        )


@contextmanager
def open_run(config: Config, mesh: Mesh, console: Console) -> Iterator[Run]:
    """A run that listens for SIGTERM, SIGUSR1 and Ctrl-C, and whose checkpoint and W&B run are finished whatever happens."""
    run = Run(config, mesh, console)

    def remember(number: int, _: FrameType | None) -> None:
        if run.stop_signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not run.began:  # there is nothing to save yet, and preparing data can take hours
            sys.exit(128 + number)
        run.stop_signal = number

    before = {number: signal.signal(number, remember) for number in STOPPING}
    failed = True
    try:
        with console.showing():
            yield run
        failed = False
    finally:
        run.writer.wait()
        if run.remote:
            run.remote.wait(LAST_COPY if run.stop_signal is None else LAST_COPY_STOPPED)
        run.release()
        for number, handler in before.items():
            signal.signal(number, handler)
        if run.wandb:
            run.wandb.finish(exit_code=int(failed))
