"""Training: the whole algorithm on one screen, the same for one process and for many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distalex.config.config import Config
from distalex.console import Console
from distalex.data.batches import Batch, Part
from distalex.data.open import Data, open_data
from distalex.errors import NotFinite, Stopped
from distalex.evaluate.evaluation import Evaluation, evaluate
from distalex.machine.precision import has_bf16
from distalex.model.alexnet import AlexNet
from distalex.model.freezing import freeze
from distalex.model.initial_weights import build_model
from distalex.optim.average import MovingAverage
from distalex.optim.gradients import clip_gradients
from distalex.optim.optimizer import build_optimizer
from distalex.optim.schedule import Schedule
from distalex.parallel.agreement import require_agreement
from distalex.parallel.mesh import Mesh
from distalex.parallel.parallelize import Parallel, parallelize
from distalex.parallel.start import start_processes
from distalex.parallel.topology import Topology
from distalex.plan import measure as plan
from distalex.runs.weights import load_weights
from distalex.train.layer_norms import LayerNorms
from distalex.train.run import Run, StepResult, open_run
from distalex.train.state import TrainState


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    folder: Path
    step: int
    evaluation: Evaluation | None
    stop_signal: int | None
    """The signal that ended it early, if one did."""


def train(config: Config) -> Summary:
    """Train as `config` says and leave a run directory.

    Raises UserError before anything is created where the configuration, processes, data and weights do not fit, and
    TrainingError where the loss stops being finite or the disk does not take the last checkpoint.
    """
    with start_processes(config, choose_parallel) as mesh, open_run(config, mesh, Console(mesh.is_first)) as run:
        data = open_data(config, mesh, run.say, run.console.progress)
        require_agreement({"data": data.describe(), "classes": data.classes, "colours": data.statistics})
        state, forward = build_state(config, mesh, data, run)
        run.begin(state)
        run.say(_introduction(config, mesh, data, state.net, run))
        evaluation = None
        while evaluation is None:
            try:
                train_epoch(state, forward, data, config, run)
            except NotFinite:
                run.roll_back(state)
                continue
            if run.stop_requested():
                run.save(state)
                break
            evaluation = end_epoch(state, forward, data, config, run)
        run.require_saved(state)
        if evaluation is None:
            run.say(f"stopped at step {state.step:,} and saved; go on with --name={run.folder.name} --checkpoint.resume=auto")
        else:
            run.show(data, state.step)
        return Summary(run.folder, state.step, evaluation, run.stop_signal)


def train_epoch(state: TrainState, forward: Parallel, data: Data, config: Config, run: Run) -> None:
    """What is left of the epoch, or of what the run is to do of it. Raises NotFinite where the run is to go back."""
    for batch in run.steps(data.train.train(state.epoch, state.step_in_epoch), state):
        run.log(train_step(state, forward, batch, config), state, data.train.steps_per_epoch)
        if config.checkpoint.every_steps and state.step % config.checkpoint.every_steps == 0:
            run.save(state)


def train_step(state: TrainState, forward: Parallel, batch: Batch, config: Config) -> StepResult:
    """One optimizer step on this replica's part of a batch; nothing in it waits for the device.

    The loss of each image is divided by the whole batch's size and gradients add up over parts and replicas, so that
    they equal the gradient of the mean loss over the batch, however it is divided and however uneven it is.
    """
    options, traffic, device = config.train, forward.mesh.traffic, batch.labels.device
    lr = state.schedule.apply(state.optimizer, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    for number, part in enumerate(batch.parts(options.accumulate), 1):
        last = number == options.accumulate
        if not len(part.labels) and not last:
            continue
        state.net.key_masks(config.seed, state.step, part.first_row)
        with forward.exchanging(last):
            with torch.autocast(device.type, torch.bfloat16, enabled=part.images.dtype == torch.bfloat16):
                logits = forward(part.images, len(part.labels))
            loss = summed_loss(logits.float(), part, options.label_smoothing)
            (loss / batch.total).backward()
        loss_sum += loss.detach()
        correct += (logits.detach().argmax(1) == part.labels).sum()
    traffic.backward_done(device)
    if options.clip_norm:
        clip_gradients(state.net, options.clip_norm, state.shards)
    sizes = None
    if options.on_nonfinite == "stop" or is_finite(loss_sum, state, forward.mesh, options.on_nonfinite):
        if config.log.layers and (state.step + 1) % config.log.every == 0:
            sizes = LayerNorms(state.net, state.shards)
        state.optimizer.step()
        if sizes:
            sizes.after_step()
        if state.average:
            state.average.update(state.net)
    state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
    return StepResult(loss_sum, correct, batch.total, lr, sizes)


def is_finite(loss: Tensor, state: TrainState, mesh: Mesh, otherwise: str) -> bool:
    """Whether the step's loss is finite on every rank. Raises NotFinite where the run is to go back because it is not."""
    if not mesh.any(not bool(torch.isfinite(loss))):
        return True
    if otherwise == "rollback" and state.step not in state.left_out:
        raise NotFinite(f"step {state.step}")
    state.left_out.add(state.step)
    return False


def summed_loss(logits: Tensor, part: Part, smoothing: float) -> Tensor:
    """Cross-entropy summed over images; of a mixed one with each of its labels, weighed by their shares."""
    if part.mix is None:
        return functional.cross_entropy(logits, part.labels, reduction="sum", label_smoothing=smoothing)
    own, other = (
        functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing) for labels in (part.labels, part.mix.labels)
    )
    return torch.lerp(other, own, part.mix.shares).sum()


def end_epoch(state: TrainState, forward: Parallel, data: Data, config: Config, run: Run) -> Evaluation | None:
    """Evaluate and save when it is time. Returns the evaluation that ends the run."""
    whole_epoch = state.step_in_epoch >= data.train.steps_per_epoch
    if whole_epoch:
        state.epoch, state.step_in_epoch = state.epoch + 1, 0
    ends, best, evaluation = run.ended(state), False, None
    due = whole_epoch and state.epoch % config.train.evaluate_every == 0
    if ends or due:
        try:
            evaluation = evaluate_average(state, forward, data, config, run)
        except Stopped:  # the state is that before the evaluation, so that the run goes on with it
            if whole_epoch:
                state.epoch, state.step_in_epoch = state.epoch - 1, data.train.steps_per_epoch
            return None
        if due:  # an evaluation that only ends a part of the run must not change how it goes on
            state.schedule.evaluated(evaluation.loss)
        best, state.best_top1 = evaluation.top1 > state.best_top1, max(evaluation.top1, state.best_top1)
        run.record(evaluation, state)
    every = config.checkpoint.every_epochs
    run.save(state, best, newest=ends or (every > 0 and state.epoch % every == 0))
    return evaluation if ends else None


def evaluate_average(state: TrainState, forward: Parallel, data: Data, config: Config, run: Run) -> Evaluation:
    """Evaluate the moving average of the weights if there is one, else the weights. Raises Stopped."""
    measured = partial(evaluate, forward, data.test, forward.mesh, config.train, stop_requested=run.stop_requested)
    if state.average is None:
        return measured()
    state.average.swap(state.net)
    try:
        return measured()
    finally:
        state.average.swap(state.net)


def build_state(config: Config, mesh: Mesh, data: Data, run: Run) -> tuple[TrainState, Parallel]:
    """Network, optimizer and schedule at the start of the run, divided as the mesh asks.

    Raises UserError where weights, layer names or the mesh do not fit the network.
    """
    net = build_model(config.model, len(data.classes), config.data.image_size, config.seed)
    if config.model.weights:
        load_weights(net, config.model.weights, config.runs_dir, config.data.normalize, run.say)
    freeze(net, config.model.freeze)
    forward = parallelize(net, config.train, mesh)
    optimizer = build_optimizer(net, config.optim, forward.shards)
    steps = data.train.steps_per_epoch
    described: dict[str, Any] = {
        "config": run.config.model_dump(mode="json"),
        "classes": list(data.classes),
        "mean": list(data.statistics.mean),
        "covariance": [list(row) for row in data.statistics.covariance],
        "side": data.side,
        "resize": data.resize,
    }
    average = MovingAverage(net, config.train.ema) if config.train.ema else None
    schedule = Schedule(config.optim, steps * config.train.epochs, steps)
    return TrainState(net, optimizer, schedule, forward.shards, average, described=described), forward


def choose_parallel(config: Config, topology: Topology, device: torch.device) -> str:
    """What `--parallel=auto` means on these processes; measures the machine the first time."""
    return plan.choose(config, topology.world_size, topology.local_world_size, device)


def _introduction(config: Config, mesh: Mesh, data: Data, net: AlexNet, run: Run) -> str:
    processes = mesh.topology.world_size
    held = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    largest = -(-config.train.batch_size // mesh.replicas)
    computes: str = config.train.precision
    if computes == "bf16" and not has_bf16(mesh.device):
        computes = "fp32 (asked for bf16, which this device has no instructions for)"
    return "\n".join(
        [
            f"run {run.folder}: {config.model.name} network, {held:.1f} M parameters{' in each process' * (mesh.columns > 1)}, "
            f"{config.data.image_size}x{config.data.image_size}, "
            f"{computes} on {processes} {mesh.device.type} process{'es' * (processes > 1)} (--parallel={mesh.parallel}), "
            f"{torch.get_num_threads()} thread(s) each",
            f"data {config.data.name}: {data.describe()}; augment={config.data.augment}, "
            f"normalize={config.data.normalize}, loader={config.data.loader}",
            f"batch {config.train.batch_size} = {mesh.replicas} x {largest} images, {mesh.columns} process{'es' * (mesh.columns > 1)} "
            f"a replica, {data.train.steps_per_epoch:,} steps an epoch; "
            f"a network that knows nothing has loss ln {len(data.classes)} = {math.log(len(data.classes)):.3f}",
        ]
    )


def train_until_stopped(config: Config) -> int:
    """`python -m distalex.train`: the exit status, 128 + the signal where one stopped the run."""
    summary = train(config)
    if summary.stop_signal is not None and summary.evaluation is None:
        return 128 + summary.stop_signal
    return 0
