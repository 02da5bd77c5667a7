"""A training run: its folder, checkpoints, log and trace."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from distalex import __version__
from distalex.config.config import Config
from distalex.config.model import ModelConfig
from distalex.config.schema import validate
from distalex.config.train import TrainConfig
from distalex.console import Console
from distalex.data.batches import Batch
from distalex.errors import Stopped, UserError, brief
from distalex.machine.description import computes_on, describe_machine
from distalex.machine.precision import arithmetic
from distalex.machine.speed import memory_speed
from distalex.model.fitting import differing_options
from distalex.parallel.mesh import Mesh
from distalex.runs.checkpoint import load_newest, newest_first, step_in, step_of
from distalex.runs.folder import RunFolder
from distalex.runs.metrics import MetricsFile
from distalex.runs.remote import Remote
from distalex.runs.resuming import find_state, require_same_data, require_same_run
from distalex.runs.writer import Writer
from distalex.train.log import StepLog, StepResult
from distalex.train.nonfinite import NonFiniteGuard
from distalex.train.roofline import DeviceSpeed
from distalex.train.saving import Saver
from distalex.train.state import TrainState
from distalex.train.stopping import StopSignals
from distalex.train.tensorboard import TensorBoard, check_tensorboard
from distalex.train.trace import Trace
from distalex.train.wandb import WeightsAndBiases, check_wandb

LAST_COPY = 600.0  # seconds for a run's last copy elsewhere
LAST_COPY_STOPPED = 10.0  # the same, where a signal has stopped the run


@dataclass
class Run:
    """What a run trains and writes with."""

    config: Config
    """With the run's name."""
    mesh: Mesh
    console: Console
    folder: RunFolder
    resumed: dict[str, Any] | None
    """The state to resume from, until `begin` has restored it."""
    stop: StopSignals
    log: StepLog
    saver: Saver
    guard: NonFiniteGuard
    remote: Remote | None = None
    trace: Trace | None = None
    has_stepped: bool = False

    def say(self, line: str) -> None:
        """Print a line, on rank 0."""
        self.console.say(line)

    def begin(self, state: TrainState) -> None:
        """Restore `state` where the run is resumed, then lock and write the folder. Raises UserError where one does not fit."""
        self._require_same_step()
        if self.resumed is not None:
            self._restore(state, self.resumed)
            self.resumed = None
        if problem := self.mesh.from_first(self._write_folder(state) if self.mesh.is_first else ""):
            raise UserError(problem)
        state.best_top1, state.best_loss = self.mesh.from_first((state.best_top1, state.best_loss))
        self.stop.can_save = True
        if self._begins_from_another() or (self.config.train.on_nonfinite == "rollback" and not self._has_checkpoint(state.step)):
            self.saver.save(state)  # to resume from, whenever it is killed, and to roll back to
            self.saver.writer.wait()
        self.log.measure_peak(len(state.metadata["classes"]))
        if steps := self.config.train.profile:
            speed = DeviceSpeed(self.log.own_peak, memory_speed(self.mesh.device))
            self.trace = Trace(steps, state.net, state.optimizer, self.folder.path, self.mesh.rank, self.mesh.device, speed)
        self.log.start_window()

    def _begins_from_another(self) -> bool:
        """Whether the run began from a checkpoint that `checkpoint.resume` names."""
        return self.config.checkpoint.resume not in ("auto", "never")

    def _has_checkpoint(self, step: int) -> bool:
        """Whether the folder holds a checkpoint of `step`, as rank 0 sees it."""
        return self.mesh.from_first(any(step_of(path) == step for path in newest_first(self.folder.checkpoints)))

    def _require_same_step(self) -> None:
        """Raise UserError, on every rank, where ranks found checkpoints of different steps, or some of them none."""
        found = -1 if self.resumed is None else self.resumed["progress"]["step"]
        if self.mesh.any(found != self.mesh.from_first(found)):
            what = "no checkpoint" if found < 0 else f"a checkpoint of step {found}"
            raise UserError(
                f"{self.folder.path}: rank {self.mesh.rank} found {what} and other ranks another one or none; all hosts need the same "
                "folder of runs: give a shared one with --runs_dir=DIR"
            )

    def _write_folder(self, state: TrainState) -> str:
        """Lock and write the folder, by rank 0. Returns why that is not possible, or an empty string."""
        try:
            self.folder.claim(self.say)
            self.folder.write_start(self.config, _describe_start(self.config, self.mesh, state.step))
        except UserError as error:
            return str(error)
        self._drop_what_comes_after(state)
        self.log.wandb = WeightsAndBiases(self.config, self.folder.path, self.console)
        if self.config.log.tensorboard:
            self.log.tensorboard = TensorBoard(self.folder.path, state.step, self.console)
        return ""

    def _restore(self, state: TrainState, saved: dict[str, Any]) -> None:
        require_same_data(self.config, saved, state.metadata, self.say)
        before, now = saved["config"]["optim"]["name"], self.config.optim.name
        if before != now:  # another kind's momentum would be taken for its own
            self.say(f"optimizer state re-initialised: the checkpoint has {before}'s, this run uses {now}")
            saved = {**saved, "optimizer": {}}
        try:
            state.load_state_dict(saved)
        except (KeyError, RuntimeError) as error:
            options = differing_options(validate(ModelConfig, saved["config"]["model"], {}), self.config.model)
            reason = f"its network has {options}" if options else brief(error)
            raise UserError(
                f"checkpoint.resume={self.config.checkpoint.resume}: does not fit this network: {reason}; use its options, or train anew "
                "under another --name"
            ) from None
        if saved["config"]["train"]["epochs"] != self.config.train.epochs:  # another schedule, which early_stop has not seen at work
            state.patience.load_state_dict({}, state.epoch)
        if saved["average"] and state.average is None:
            self.say("the checkpoint has a moving average of the weights (train.ema), which this run drops")
        self.say(f"resuming from step {state.step:,} (epoch {state.epoch + 1})")
        if state.is_done(self.config.train):
            self.say(f"nothing left to train: {_why_done(state, self.config.train)}")

    def _drop_what_comes_after(self, state: TrainState) -> None:
        """Remove metrics of later steps, and set aside later checkpoints: damaged ones, or of a branch that this run leaves."""
        self.log.metrics.rewind(state.step, state.epoch)
        for later in newest_first(self.folder.checkpoints):
            if step_of(later) > state.step:
                later.rename(later.with_suffix(".stale"))
        best = self.folder.checkpoints / "best.pt"
        if best.exists() and step_in(best) > state.step:
            best.rename(best.with_suffix(".stale"))
        if not best.exists():
            state.best_top1, state.best_loss = -1.0, math.inf  # of another branch, or another run

    def batches(self, batches: Iterator[Batch], state: TrainState) -> Iterator[Batch]:
        """Yield batches until the epoch, or the run, is over. Raises Stopped, on every rank, once any rank got a signal."""
        try:
            while not state.is_done(self.config.train):
                if self.stop.requested():
                    raise Stopped
                self.mesh.traffic.start_step()
                batch = self.log.next_batch(batches)
                if batch is None:
                    return
                yield batch
        finally:
            batches.close()  # type: ignore[attr-defined]

    def record(self, result: StepResult, state: TrainState, steps_per_epoch: int) -> None:
        """Log one step, and save where `checkpoint.every_steps` asks for it. Raises TrainingError for a loss that is not finite."""
        if self.trace and (table := self.trace.step()):
            self.say(table)
        self.log.add(result)
        if not self.has_stepped:  # the first step takes longest: it compiles and measures
            self.has_stepped = True
            self.mesh.expect_answers_within(self.config.train.timeout)
        if self.log.is_due(state, steps_per_epoch):
            loss, correct = self.log.mean_over_replicas(result)
            self.guard.require_finite_loss(loss)
            self.log.write(result, state, steps_per_epoch, loss, correct)
        every = self.config.checkpoint.every_steps
        if every and state.step % every == 0:
            self.save(state)

    def save(self, state: TrainState, best: bool = False, newest: bool = True) -> None:
        """Begin to save, as `Saver.save`; its time belongs to no step. Raises TrainingError for a state that is not finite."""
        if best or newest:
            self.guard.require_finite_state(state)
        self.saver.save(state, best, newest)
        self.log.start_window()

    def roll_back(self, state: TrainState) -> None:
        """Restore `state` from the newest checkpoint after a bad step. Raises TrainingError where that is not possible."""
        while self.mesh.any(self.saver.writer.is_busy):  # rank 0 alone waits for the disk; the others must not time out meanwhile
            self.mesh.beat()
            time.sleep(0.05)
        self.guard.roll_back(state, load_newest(self.folder.checkpoints, self.say), self.say)
        if self.mesh.is_first:
            self.log.metrics.rewind(state.step, state.epoch)
        self.log.start_window()


def _why_done(state: TrainState, config: TrainConfig) -> str:
    """Why there is nothing left to train, and how to train on where it stopped early."""
    if state.stops_early(config):
        return (
            f"train.early_stop={config.early_stop} stopped it, as no epoch after {state.patience.best} was better; "
            "resume with --train.early_stop=0, or a larger number, to train on"
        )
    return f"train.epochs={config.epochs}, train.max_steps={config.max_steps}"


@contextmanager
def open_run(config: Config, mesh: Mesh) -> Iterator[Run]:
    """Open the run that `config` names: look for a state to resume from, and catch signals; creates nothing before `Run.begin`.

    Its last checkpoint and copy, its lock and its W&B run are finished whatever happens. Raises UserError where the folder is
    another run's.
    """
    check_wandb(config.log)
    check_tensorboard(config.log)
    console = Console(mesh.is_first)
    name = config.name or mesh.from_first(f"{config.data.name}-{config.model.label}-{time.strftime('%Y%m%d-%H%M%S')}")
    config = config.model_copy(update={"name": name})
    folder = RunFolder(config.runs_dir, name)
    remote = Remote(config.checkpoint.remote, name, console.say) if config.checkpoint.remote else None
    if remote:
        _fetch_copy(config, folder, remote, mesh)
    resumed = find_state(config, folder, console.say)
    writer = Writer(folder.checkpoints, console.say, (lambda: remote.push(folder.path)) if remote else lambda: None)
    saver = Saver(writer, mesh, config.checkpoint.keep, folder.resuming_options(config.train.max_steps))
    log = StepLog(config, mesh, console, MetricsFile(folder.path / "metrics.jsonl", console.say))
    failed = True
    with StopSignals(mesh) as stop:
        run = Run(config, mesh, console, folder, resumed, stop, log, saver, NonFiniteGuard(config, mesh), remote)
        try:
            with console.showing():
                yield run
            failed = False
        finally:
            writer.wait()
            if remote:
                remote.wait(LAST_COPY if stop.received is None else LAST_COPY_STOPPED)
            folder.release()
            if log.wandb:
                log.wandb.finish(exit_code=int(failed))
            if log.tensorboard:
                log.tensorboard.finish()


def _fetch_copy(config: Config, folder: RunFolder, remote: Remote, mesh: Mesh) -> None:
    """Fetch what the run's copy has beyond the folder where it is resumed; refuse to overwrite another run's copy where it is new."""
    if config.checkpoint.resume != "auto":
        remote.require_new()
        return
    if folder.exists():
        require_same_run(config, folder)
    if mesh.topology.local_rank == 0:
        remote.fetch(folder.path)
    mesh.barrier()


def _describe_start(config: Config, mesh: Mesh, step: int) -> dict[str, Any]:
    """What the run trains on from `step`: a line of starts.jsonl."""
    topology = mesh.topology
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "step": step,
        "parallel": mesh.parallel,
        "processes": topology.world_size,
        "processes_a_node": topology.local_world_size,
        "replicas": mesh.replicas,
        "columns": mesh.columns,
        "device": computes_on(mesh.device),
        "threads": torch.get_num_threads(),
        "arithmetic": str(arithmetic(config.train.precision, mesh.device)).removeprefix("torch."),
        "host": socket.gethostname(),
        "distalex": __version__,
        **describe_machine(),
    }
