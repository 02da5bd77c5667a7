"""Training: the whole algorithm on one screen, the same for one process and for many."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from distalex.config.config import Config
from distalex.config.train import TrainConfig
from distalex.data.batches import Batch, MicroBatch
from distalex.data.open import Data, open_data
from distalex.errors import NotFinite, Stopped
from distalex.evaluate.evaluation import Evaluation, evaluate
from distalex.model.own import complete
from distalex.optim.gradients import clip_gradients
from distalex.parallel.agreement import facts_of, require_agreement
from distalex.parallel.parallelize import Parallel
from distalex.parallel.start import start_processes
from distalex.parallel.topology import Topology
from distalex.plan.cost import classes_or_assumed
from distalex.plan.measure import choose
from distalex.runs.published import weights_place
from distalex.runs.trained import statistics_in
from distalex.train.build import build_state, describe_run, thaw
from distalex.train.class_weights import class_weights, describe_weights_of
from distalex.train.clock import Clock
from distalex.train.ending import describe_ending
from distalex.train.layer_norms import LayerNorms
from distalex.train.log import StepResult
from distalex.train.nonfinite import NonFiniteGuard
from distalex.train.replay import Passes, Replay, can_replay
from distalex.train.run import Run, open_run
from distalex.train.state import TrainState
from distalex.train.wandb import log_results


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    folder: Path
    step: int
    """Optimizer steps done."""
    evaluation: Evaluation | None
    """The last one; None where a signal stopped the run."""
    stop_signal: int | None
    """The signal that stopped the run early, if one did."""
    seconds: float
    """Time that this start of the run took."""


def train(config: Config) -> Summary:
    """Train as `config` says and leave a run directory (docs/run-directory.md).

    Raises UserError before anything is created where config, processes, data and weights do not fit, and TrainingError where the
    loss is not finite or the disk refuses the last checkpoint.
    """
    started = time.perf_counter()
    config = complete(config, classes_or_assumed(config.data))
    processes = start_processes(
        config.parallel,
        config.model.columns,
        config.device,
        config.train.threads,
        config.train.deterministic,
        facts=partial(facts_of, config),
        choose=partial(choose_parallel, config),
    )
    with processes as mesh, open_run(config, mesh) as run:
        weights = weights_place(config.model.weights, mesh, run.say) if run.resumed is None else None
        data = open_data(
            *(config.data, mesh, run.say, run.console.progress),
            batch_size=config.train.batch_size,
            eval_batch_size=config.train.eval_batch_size,
            micro_batches=config.train.accumulate,
            precision=config.train.precision,
            seed=config.seed,
            statistics=statistics_in(run.resumed) if run.resumed else None,
        )
        require_agreement({"data": data.describe(), "classes": data.classes, "colours": data.statistics, "images": data.contents})
        data.train.class_weights = class_weights(config.train, data, mesh.device)
        state, forward = build_state(run.config, mesh, data, run.say, weights)
        run.begin(state)
        run.say(describe_run(run.config, mesh, data, state, run.folder.path))
        if data.train.class_weights is not None:
            run.say(describe_weights_of(data.train.class_weights, data.classes))
        run.log.print_head(Clock(config.train, data.train.steps_per_epoch, data.test.count / data.train.count), len(data.classes))
        passes, evaluation = passes_of(forward, config.train), None
        try:
            for _ in epochs(state, config):
                if thaw(state, forward, config.model, run.say):
                    passes = passes_of(forward, config.train)
                try:
                    train_epoch(state, forward, passes, data, run)
                except NotFinite:
                    run.roll_back(state)
                    continue
                evaluation = end_epoch(state, forward, data, run)
        except Stopped:
            evaluation = None
            run.save(state)
        run.saver.require_saved(state)
        if evaluation is None:
            run.say(f"stopped at step {state.step:,} and saved; resume with: python -m distalex.train {run.saver.resuming}")
        else:
            if state.stops_early(config.train):
                run.say(f"stopped early: no epoch after {state.patience.best} was better (train.early_stop={config.train.early_stop})")
            log_results(run.log.wandb, run.config, run.folder, data, state.step)
        return Summary(run.folder.path, state.step, evaluation, run.stop.received, time.perf_counter() - started)


def epochs(state: TrainState, config: Config) -> Iterator[int]:
    """Yield the current epoch until training is done, at least once so that `epochs=0` still evaluates."""
    yield state.epoch
    while not state.is_done(config.train):
        yield state.epoch


def train_epoch(state: TrainState, forward: Parallel, passes: Passes, data: Data, run: Run) -> None:
    """Train what is left of the epoch. Raises Stopped after a signal, and NotFinite where the run is to roll back."""
    for batch in run.batches(data.train.train(state.epoch, state.step_in_epoch), state):
        result = train_step(state, forward, batch, run.config, run.guard, passes)
        run.record(result, state, data.train.steps_per_epoch)


def train_step(state: TrainState, forward: Parallel, batch: Batch, config: Config, guard: NonFiniteGuard, passes: Passes) -> StepResult:
    """One optimizer step on this replica's share of a batch. Only `guard` waits for the device, where it is to skip or roll back.

    The loss of each image is divided by the size of the global batch, and gradients are summed over micro-batches and replicas, so
    that they equal the gradient of the mean loss over the global batch, however it is divided and however uneven it is.
    """
    options, device = config.train, batch.labels.device
    guard.begin_step(state.net)
    lr = state.schedule.apply(state.optimizer, state.epoch, state.step_in_epoch)
    state.optimizer.zero_grad(set_to_none=True)
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    for number, micro_batch in enumerate(batch.micro_batches(options.accumulate), 1):
        last = number == options.accumulate
        if not len(micro_batch.labels) and not last and not forward.mesh.shards_parameters:
            continue
        state.net.key_masks(config.seed, state.step, micro_batch.first_row)
        with forward.exchanging(last):
            loss, right = passes(micro_batch, batch.total)
        loss_sum += loss
        correct += right
    forward.mesh.traffic.backward_done(device)
    if options.clip_norm:
        clip_gradients(state.net, options.clip_norm, state.shards)
    norms = apply_gradients(state, config) if guard.allows(loss_sum, state) else None
    state.epoch_mean.add(loss_sum, correct, len(batch.labels))
    state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
    return StepResult(guard.reported(loss_sum), correct, batch.total, lr, norms)


def passes_of(forward: Parallel, config: TrainConfig) -> Passes:
    """The forward and backward passes of a micro-batch, replayed where that is possible."""

    def passes(micro_batch: MicroBatch, total: int) -> tuple[Tensor, Tensor]:
        images, labels = micro_batch.images, micro_batch.labels
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16):
            logits = forward(images, len(labels))
        loss = summed_loss(logits.float(), micro_batch, config.label_smoothing)
        (loss / total).backward()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    return Replay(passes, forward.net) if can_replay(forward, config) else passes


def summed_loss(logits: Tensor, micro_batch: MicroBatch, smoothing: float) -> Tensor:
    """Cross-entropy of logits (n, classes), summed over images; for a mixed image over both its labels, weighed by their shares.

    Where classes are weighed, scaled so that the sum over the global batch divided by its images is the weighted mean.
    """
    weight, scale = micro_batch.weights or (None, None)
    if micro_batch.mix is None:
        loss = functional.cross_entropy(logits, micro_batch.labels, weight, reduction="sum", label_smoothing=smoothing)
    else:
        own, other = (
            functional.cross_entropy(logits, labels, weight, reduction="none", label_smoothing=smoothing)
            for labels in (micro_batch.labels, micro_batch.mix.labels)
        )
        loss = torch.lerp(other, own, micro_batch.mix.shares).sum()
    return loss if scale is None else loss * scale


def apply_gradients(state: TrainState, config: Config) -> LayerNorms | None:
    """Update the weights and their moving average. Returns the norms by layer with `log.layers`, where the step is logged."""
    norms = LayerNorms(state.net, state.shards) if config.log.layers and (state.step + 1) % config.log.every == 0 else None
    state.optimizer.step()
    if norms:
        norms.after_step()
    if state.average:
        state.average.update(state.net)
    return norms


def end_epoch(state: TrainState, forward: Parallel, data: Data, run: Run) -> Evaluation | None:
    """Evaluate and save where the epoch or the run ends.

    Raises Stopped, with `state` as it was, where a signal stops the evaluation: the run that resumes evaluates again.
    """
    config, is_whole = run.config, state.step_in_epoch >= data.train.steps_per_epoch
    epochs_done = state.epoch + is_whole
    is_last = epochs_done >= config.train.epochs or state.is_done(config.train)
    is_due = is_whole and epochs_done % config.train.evaluate_every == 0
    evaluation = evaluate_average(state, forward, data, run) if is_due or is_last else None
    if is_whole:
        state.epoch, state.step_in_epoch = epochs_done, 0
        run.log.write_epoch(state)
    is_best = False
    if evaluation is not None:
        if is_due:  # the final evaluation must not advance the schedule, or a resumed run would differ
            state.schedule.evaluated(evaluation.loss)
            state.patience.take(evaluation.top1, evaluation.loss, state.epoch)
        if is_best := state.is_better(evaluation):
            state.best_top1, state.best_loss = evaluation.top1, evaluation.loss
        is_last = is_last or state.is_done(config.train)  # it may stop early
        run.log.write_evaluation(evaluation, state)
    if is_whole or evaluation is not None:
        run.log.print_epoch(state, evaluation)
    every = config.checkpoint.every_epochs
    run.save(state, is_best, newest=is_last or (every > 0 and state.epoch % every == 0))
    if evaluation is not None:
        run.guard.require_finite_evaluation(evaluation, state)
    return evaluation


def evaluate_average(state: TrainState, forward: Parallel, data: Data, run: Run) -> Evaluation:
    """Evaluate the moving average of the weights if there is one, else the weights. Raises Stopped after a signal."""
    measure = partial(evaluate, forward, data.test, forward.mesh, run.config.train.mirror_test, stop_requested=run.stop.requested)
    if state.average is None:
        return measure()
    state.average.swap(state.net)
    try:
        return measure()
    finally:
        state.average.swap(state.net)


def choose_parallel(config: Config, topology: Topology, device: torch.device) -> str:
    """What `--parallel=auto` means on these processes; measures the machine the first time."""
    return choose(config, topology.world_size, topology.local_world_size, device)


def train_until_stopped(config: Config) -> int:
    """Run `python -m distalex.train`. Returns the exit status, 128 + the signal's number where one stopped the run."""
    summary = train(config)
    if summary.stop_signal is not None and summary.evaluation is None:
        return 128 + summary.stop_signal
    if Topology.from_environment().rank == 0 and summary.evaluation is not None:
        print(describe_ending(summary.folder, config, summary.seconds), flush=True)
    return 0
