"""`tune batch`: memory and images/s of growing batches, and the largest that fits."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from distalex.config.config import Config
from distalex.console import Console, aligned, bytes_text
from distalex.data.batches import Batch
from distalex.errors import UserError
from distalex.files import require_figure, save_figure
from distalex.machine.precision import arithmetic
from distalex.machine.resources import free_memory
from distalex.model.initial_weights import build_model
from distalex.model.own import complete
from distalex.optim.average import MovingAverage
from distalex.optim.optimizer import build_optimizer
from distalex.optim.schedule import Schedule
from distalex.parallel.mesh import Mesh
from distalex.parallel.parallelize import parallelize
from distalex.parallel.start import start_processes
from distalex.parallel.topology import Topology, layout
from distalex.plan.cost import classes_or_assumed
from distalex.plan.holdings import memory
from distalex.plan.layers import layers_of
from distalex.train.loop import passes_of, train_step
from distalex.train.nonfinite import NonFiniteGuard
from distalex.train.state import TrainState
from distalex.tune.options import BatchOptions
from distalex.tune.trials import write_trials

LEAST = 8
"""Batch of the first trial."""
TIMED = 2
"""Timed steps of a trial, after one that is not."""
USED = 0.9
"""Share of a host's free memory that a batch may take; a GPU is tried until it is full."""
ENOUGH = 0.95
"""Share of the best images/s that is about as fast."""


@dataclass(frozen=True)
class Trial:
    """Some steps with one batch size."""

    batch: int
    memory: int
    """Most bytes that the process has held, of the device or of the host."""
    planned: int
    """Bytes of weights, gradients, optimizer and activations by `plan`'s count."""
    images_per_second: float


class Trainer:
    """The network of `config` on one device, trained on noise."""

    def __init__(self, config: Config, classes: int, mesh: Mesh) -> None:
        self.config, self.classes, self.mesh = config, classes, mesh
        net = build_model(config.model, classes, config.data.image_size, config.seed)
        self.forward = parallelize(net, config.train, mesh)
        optimizer = build_optimizer(net, config.optim, self.forward.shards)
        average = MovingAverage(net, config.train.ema, self.forward.shards) if config.train.ema else None
        self.state = TrainState(net, optimizer, Schedule(config.optim, 1 << 30, 1 << 30), self.forward.shards, average)
        self.layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)

    def planned(self, batch: int) -> int:
        """Return the bytes that `plan` counts for a step."""
        return sum(memory(self.config, self.layers, "none", layout("none", 1, self.config.model.columns), 0, batch))

    def try_batch(self, size: int) -> Trial | None:
        """Train some steps on `size` images; None where a GPU's memory is too small for them."""
        device, config = self.mesh.device, self.config
        try:
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            images = torch.randn(size, 3, *(config.data.image_size,) * 2, device=device, dtype=arithmetic(config.train.precision, device))
            labels = torch.arange(size, device=device) % self.classes
            batch = Batch(images.contiguous(memory_format=torch.channels_last), labels, np.arange(size), 0, size)
            passes, guard = passes_of(self.forward, config.train), NonFiniteGuard(config, self.mesh)
            for number in range(1 + TIMED):
                if number == 1:
                    self._wait()
                    start = time.perf_counter()
                self.mesh.traffic.start_step()
                train_step(self.state, self.forward, batch, config, guard, passes)
            self._wait()
        except torch.OutOfMemoryError:
            self.state.optimizer.zero_grad(set_to_none=True)
            return None
        return Trial(size, self._memory(), self.planned(size), TIMED * size / (time.perf_counter() - start))

    def _wait(self) -> None:
        if self.mesh.device.type == "cuda":
            torch.cuda.synchronize(self.mesh.device)

    def _memory(self) -> int:
        if self.mesh.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.mesh.device)
        return _held()


def _held() -> int:
    """Most bytes of host memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def find_batch(options: BatchOptions, config: Config) -> None:
    """Run `python -m distalex.tune batch`: print and draw the trials and the largest batch that fits. Raises UserError."""
    path = Path(options.save)
    require_figure(path, "save")
    if (processes := Topology.from_environment().world_size) > 1:
        raise UserError(
            f"tune batch: started with {processes} processes and measures one device; start it without torchrun: {processes} replicas take "
            f"{processes} times the batch that it finds"
        )
    classes = options.classes or classes_or_assumed(config.data)
    config = complete(config.model_copy(update={"parallel": "none"}), classes)
    with start_processes("none", config.model.columns, config.device, config.train.threads) as mesh:
        console, trainer = Console(), Trainer(config, classes, mesh)
        on_gpu = mesh.device.type == "cuda"
        room = torch.cuda.get_device_properties(mesh.device).total_memory if on_gpu else round(USED * free_memory()) + _held()
        trials, failed = try_batches(trainer, options, room, console)
    if not trials:
        raise UserError(f"train.batch_size={config.train.accumulate}: not even the smallest batch fits into {bytes_text(room)} of memory")
    largest, is_measured = largest_of(trials, failed, room, options.most, on_gpu)
    enough = next(trial for trial in trials if trial.images_per_second >= ENOUGH * max(one.images_per_second for one in trials))
    _draw(trials, largest, room, config, path)
    measured = {"largest": largest, "measured": is_measured, "room": room, "trials": [asdict(trial) for trial in trials]}
    write_trials(options.out, measured, config)
    rows = [[f"{one.batch:,}", f"{one.images_per_second:,.0f}", bytes_text(one.memory), bytes_text(one.planned)] for one in trials]
    console.say(aligned([["batch", "images/s", "memory", "by plan's count"], *rows]))
    how = "measured" if is_measured else "computed from the memory of those tried"
    console.say(
        f"drawn: {path}\nlargest that fits into {bytes_text(room)}: {largest:,} ({how})\n"
        f"about as fast as any tried, on this device: --train.batch_size={enough.batch}"
    )


def try_batches(trainer: Trainer, options: BatchOptions, room: int, console: Console) -> tuple[list[Trial], int | None]:
    """Double the batch while it fits, then halve the gap to one that a GPU refuses. Returns trials by size, and the least refused."""
    trials: list[Trial] = []
    start, failed, size = time.monotonic(), None, max(min(LEAST, options.most), trainer.config.train.accumulate)
    while time.monotonic() - start < options.seconds and size <= options.most:
        if trainer.mesh.device.type == "cpu" and _expected(trials, size) > room:
            break
        console.progress("batch sizes", len(trials), len(trials) + 1, f"{size:,}")
        trial = trainer.try_batch(size)
        if trial is None:
            failed = size
        else:
            trials.append(trial)
        if failed is None:
            size *= 2
            continue
        low = trials[-1].batch if trials else 0
        if failed - low <= max(1, failed // 16):
            break
        size = (low + failed) // 2
    return trials, failed


def _expected(trials: list[Trial], size: int) -> float:
    """Bytes that a batch of `size` will take, on the line through the last two trials."""
    if len(trials) < 2:
        return 0.0
    before, last = trials[-2:]
    return last.memory + max(0.0, (last.memory - before.memory) / (last.batch - before.batch)) * (size - last.batch)


def largest_of(trials: list[Trial], failed: int | None, room: int, most: int, on_gpu: bool) -> tuple[int, bool]:
    """Return the largest batch that fits, and whether it was tried: else it is where the line through the memory of trials meets `room`."""
    last = trials[-1].batch
    if failed is not None or (on_gpu and last * 2 > most) or len(trials) < 2:
        return last, True
    slope, base = np.polyfit([trial.batch for trial in trials[-4:]], [trial.memory for trial in trials[-4:]], 1)
    if slope <= 0:
        return last, True
    fits = max(last, min(most, int((room - base) / slope)))
    digits = max(0, len(str(fits)) - 2)
    return max(last, fits // 10**digits * 10**digits), fits == last


def _draw(trials: list[Trial], largest: int, room: int, config: Config, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [trial.batch for trial in trials]
    left.plot(sizes, [trial.memory / 1e9 for trial in trials], marker="o", markersize=4, label="measured")
    left.plot(sizes, [trial.planned / 1e9 for trial in trials], linestyle="--", color="grey", label="plan's count, without buffers")
    left.axhline(room / 1e9, color="tab:red", linewidth=1, label=f"memory: {bytes_text(room)}")
    left.axvline(largest, color="tab:red", linestyle=":", linewidth=1.2, label=f"largest that fits: {largest:,}")
    left.set(yscale="log", ylabel="GB", title="memory")
    right.plot(sizes, [trial.images_per_second for trial in trials], marker="o", markersize=4)
    right.set(ylim=(0, None), ylabel="images/s", title="speed, without the loader")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="batch size")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{config.model.name} network, {config.data.image_size} pixels, {config.train.precision}", fontsize=11)
    save_figure(figure, path, "save")
