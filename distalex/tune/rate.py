"""`tune lr`: the learning-rate range test (Smith 2017, Cyclical Learning Rates for Training Neural Networks, Section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from distalex.config.config import Config
from distalex.config.schema import plain_text
from distalex.console import Console
from distalex.data.batches import Batch
from distalex.data.open import Data, open_data
from distalex.errors import UserError
from distalex.files import require_figure, save_figure
from distalex.model.own import complete
from distalex.optim.schedule import Schedule
from distalex.parallel.agreement import facts_of
from distalex.parallel.mesh import Mesh
from distalex.parallel.start import start_processes
from distalex.plan.cost import classes_or_assumed
from distalex.runs.published import weights_place
from distalex.train.build import build_state
from distalex.train.class_weights import class_weights
from distalex.train.loop import choose_parallel, passes_of, train_step
from distalex.train.nonfinite import NonFiniteGuard
from distalex.train.state import TrainState
from distalex.tune.options import RateOptions
from distalex.tune.trials import write_trials

SMOOTHING = 0.9
"""Decay per step of the moving average of the losses."""
DIVERGED = 2.0
"""The trial ends where the smoothed loss is so many times its least, and above that of the first step."""


class Growth(Schedule):
    """A learning rate that grows by the same factor in each step, whatever the epoch."""

    def __init__(self, config: Config, least: float, most: float, steps: int) -> None:
        super().__init__(config.optim, steps, steps)
        self.rates = iter(np.geomspace(least, most, steps).tolist())

    def apply(self, optimizer: torch.optim.Optimizer, epoch: int, step_in_epoch: int) -> float:
        """Set every parameter group's learning rate for the next step, and return the base learning rate."""
        rate = next(self.rates)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_multiple"]
        return rate


@dataclass
class Sweep:
    """Rates and losses of the steps of a trial."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Mean over the global batch, as it is trained on."""

    @property
    def smoothed(self) -> np.ndarray:
        """(steps,): the moving average of the losses, corrected for its start."""
        average, found = 0.0, []
        for number, loss in enumerate(self.losses, 1):
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            found.append(average / (1 - SMOOTHING**number))
        return np.array(found)

    def has_diverged(self) -> bool:
        """Whether the last loss is not finite, or the smoothed one has risen far above its least."""
        if not math.isfinite(self.losses[-1]):
            return True
        smoothed = self.smoothed
        return bool(smoothed[-1] > DIVERGED * smoothed.min() and smoothed[-1] > smoothed[0])


def find_rate(options: RateOptions, config: Config) -> float:
    """Run `python -m distalex.tune lr`: train with a growing rate, draw the losses, and print and return the suggested rate.

    Raises UserError where config, processes and data do not fit, or the loss never falls.
    """
    path = Path(options.save)
    require_figure(path, "save")
    config, train = complete(config, classes_or_assumed(config.data)), config.train
    processes = start_processes(
        *(config.parallel, config.model.columns, config.device, train.threads, train.deterministic),
        facts=partial(facts_of, config),
        choose=partial(choose_parallel, config),
    )
    with processes as mesh:
        console = Console(mesh.is_first)
        with console.showing():
            weights = weights_place(config.model.weights, mesh, console.say)
            data = open_data(
                *(config.data, mesh, console.say, console.progress),
                batch_size=train.batch_size,
                micro_batches=train.accumulate,
                precision=train.precision,
                seed=config.seed,
            )
            data.train.class_weights = class_weights(train, data, mesh.device)
            sweep = _sweep(options, config, mesh, data, console, weights)
        suggested = suggest(sweep)
        if mesh.is_first:
            _draw(sweep, suggested, config, path)
            trial = {"suggested": suggested, "rates": sweep.rates, "losses": sweep.losses, "smoothed": sweep.smoothed.tolist()}
            write_trials(options.out, trial, config)
        console.say(
            f"drawn: {path}: {len(sweep.rates)} steps from {plain_text(sweep.rates[0])} to {plain_text(round_rate(sweep.rates[-1]))}\n"
            f"suggested: --optim.lr={plain_text(suggested)}"
        )
    return suggested


def _sweep(options: RateOptions, config: Config, mesh: Mesh, data: Data, console: Console, weights: str | None) -> Sweep:
    state, forward = build_state(config, mesh, data, console.say, weights)
    state.schedule = Growth(config, options.least, options.most, options.steps)
    guard = NonFiniteGuard(config.model_copy(update={"train": config.train.model_copy(update={"on_nonfinite": "stop"})}), mesh)
    passes, sweep = passes_of(forward, config.train), Sweep()
    for batch in _batches(data, state, options.steps):
        mesh.traffic.start_step()
        result = train_step(state, forward, batch, config, guard, passes)
        sweep.rates.append(result.lr)
        sweep.losses.append(float(mesh.sum(result.loss_sum.double())) / result.images)
        console.progress("learning rates", len(sweep.rates), options.steps, f"rate {result.lr:.2g}  loss {sweep.losses[-1]:.3f}")
        if sweep.has_diverged():
            break
    return sweep


def _batches(data: Data, state: TrainState, steps: int) -> Iterator[Batch]:
    """Yield `steps` batches of as many epochs as they take."""
    while True:
        batches = data.train.train(state.epoch)
        for batch in batches:
            if state.step == steps:
                batches.close()
                return
            yield batch
        state.epoch, state.step_in_epoch = state.epoch + 1, 0


def suggest(sweep: Sweep) -> float:
    """Return the rate to train with, of two digits: a quarter of that at which the smoothed loss is least, beyond which it diverges.

    Raises UserError where the loss does not fall.
    """
    smoothed = sweep.smoothed
    smoothed = smoothed[np.isfinite(smoothed)]
    lowest = int(smoothed.argmin()) if len(smoothed) else 0
    if lowest < 3 or smoothed[lowest] > 0.98 * smoothed[0]:
        first, last = (plain_text(round_rate(sweep.rates[number])) for number in (0, -1))
        raise UserError(
            f"optim.lr: the loss does not fall between rates of {first} and {last}; "
            "widen --least and --most, raise --steps, or check model.init and data.normalize"
        )
    return round_rate(sweep.rates[lowest] / 4)


def round_rate(rate: float) -> float:
    """Round to two digits."""
    return float(f"{rate:.1e}")


def _draw(sweep: Sweep, suggested: float, config: Config, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    smoothed = sweep.smoothed
    finite = smoothed[np.isfinite(smoothed)]
    axes.plot(sweep.rates, sweep.losses, color="tab:blue", alpha=0.3, linewidth=1, label="loss of a step")
    axes.plot(sweep.rates, smoothed, color="tab:blue", label="smoothed")
    axes.axvline(suggested, color="tab:red", linestyle="--", linewidth=1.2, label=f"suggested: {plain_text(suggested)}")
    least, first = float(finite.min()), float(finite[0])
    margin = max(first - least, 0.05 * first)
    axes.set(xscale="log", ylim=(max(0.0, least - 0.4 * margin), first + 0.8 * margin), xlabel="learning rate", ylabel="training loss")
    axes.set_title(f"{config.data.name}, {config.model.name} network, {config.optim.name}, batch {config.train.batch_size:,}", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, "save")
