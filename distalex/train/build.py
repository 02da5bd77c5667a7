"""What a run trains: network, optimizer and schedule, divided as the mesh asks; and the lines that describe it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distalex.config.config import Config
from distalex.config.model import ModelConfig
from distalex.data.contents import describe_contents
from distalex.data.open import Data
from distalex.machine.precision import has_bf16
from distalex.model.freezing import are_frozen, freeze, frozen_layers, set_frozen
from distalex.model.initial_weights import build_model
from distalex.model.network import Network
from distalex.model.own_passes import try_training
from distalex.optim.average import MovingAverage
from distalex.optim.optimizer import build_optimizer
from distalex.optim.schedule import Schedule
from distalex.parallel.mesh import Mesh
from distalex.parallel.parallelize import Parallel, parallelize
from distalex.runs.weights import load_weights
from distalex.train.state import TrainState

FEW = 20_000
"""Photographs below which other weights than random ones are recommended."""


def build_state(config: Config, mesh: Mesh, data: Data, say: Callable[[str], None], weights: str | None) -> tuple[TrainState, Parallel]:
    """Build network, optimizer and schedule as they are at the start of a run.

    `weights`: the place of `model.weights` (see `weights_place`); None where there are none, or a checkpoint will replace them.
    Raises UserError where weights, layer names or the mesh do not fit the network.
    """
    net = build_model(config.model, len(data.classes), config.data.image_size, config.seed)
    if weights is not None:
        load_weights(net, config, data.classes, say, weights)
    elif not config.model.weights and config.data.of_photographs and data.train.count < FEW:
        frozen = f", with {', '.join(config.model.freeze)} from the first epoch" if config.model.thaw else ""
        say(
            f"no model.weights, so training starts from scratch{frozen}; for so few photographs --model.weights=torchvision, or a run, "
            f"gives more{', and --config=photos is made for them' * (config.model.name == 'paper')}"
        )
    freeze(net, config.model.freeze if are_frozen(config.model, 0) else ())
    if config.model.is_own:
        _try_training(net, config, mesh, data, say)
    forward = parallelize(net, config.train, mesh)
    thawing = () if config.model.thaw is None else frozen_layers(net, config.model.freeze)
    optimizer = build_optimizer(net, config.optim, forward.shards, thawing)
    steps = data.train.steps_per_epoch
    schedule = Schedule(config.optim, steps * config.train.epochs, steps)
    average = MovingAverage(net, config.train.ema, forward.shards) if config.train.ema else None
    return TrainState(net, optimizer, schedule, forward.shards, average, metadata=describe_weights(config, data)), forward


def thaw(state: TrainState, forward: Parallel, config: ModelConfig, say: Callable[[str], None]) -> bool:
    """Freeze the layers of `model.freeze`, or let them train, as the epoch of `state` asks. Returns whether that changed. A collective."""
    layers, frozen = frozen_layers(state.net, config.freeze), are_frozen(config, state.epoch)
    if not set_frozen(state.net, layers, frozen):
        return False
    forward.replicate_again()
    if frozen or state.epoch == config.thaw:  # a run that is resumed later had thawed them before
        say(f"{', '.join(layers)} {'keep their weights' if frozen else 'train'} from epoch {state.epoch + 1}")
    return True


def _try_training(net: Network, config: Config, mesh: Mesh, data: Data, say: Callable[[str], None]) -> None:
    """Try training passes of a network of one's own. Parameters that its output does not use are not trained, which is reported."""
    last = data.train.count % config.train.batch_size or config.train.batch_size
    unused = try_training(net, config.model.name, config.train.accumulate > 1, min(config.train.batch_size, last) < mesh.replicas)
    for name in unused:
        net.get_parameter(name).requires_grad_(False)
    if unused:
        say(f"model.name={config.model.name}: not trained, as no logit uses them: {', '.join(unused[:8])}{', …' * (len(unused) > 8)}")


def describe_weights(config: Config, data: Data) -> dict[str, Any]:
    """What a checkpoint says beside its weights, so that they can be used without the training data."""
    return {
        "config": config.model_dump(mode="json"),
        "classes": list(data.classes),
        "mean": list(data.statistics.mean),
        "covariance": [list(row) for row in data.statistics.covariance],
        "side": data.side,
        "resize": data.resize,
        "data": describe_contents(data.contents),
    }


def describe_run(config: Config, mesh: Mesh, data: Data, state: TrainState, folder: Path) -> str:
    """Three lines: the run and its network, its data, its batch and the chance-level loss."""
    processes, classes = mesh.topology.world_size, len(data.classes)
    held = sum(parameter.numel() for parameter in state.shards.parameters(state.net).values()) / 1e6
    largest = -(-config.train.batch_size // mesh.replicas)
    empty, smallest = max(0, mesh.replicas - config.train.batch_size), config.train.batch_size // mesh.replicas
    shared = (
        f"{mesh.replicas - empty} x {f'{smallest} or ' if 0 < smallest < largest else ''}{largest} images"
        + f" ({empty} of {mesh.replicas} replicas have none: use fewer processes)" * bool(empty)
    )
    computes: str = config.train.precision
    if computes == "bf16" and not has_bf16(mesh.device):
        computes = "fp32 (not bf16, for which this device has no instructions)"
    return "\n".join(
        [
            f"run {folder}: {config.model.label} network, {held:.1f} M parameters{' per process' * bool(state.shards.rows)}, "
            f"{config.data.image_size}x{config.data.image_size}, "
            f"{computes} on {processes} {mesh.device.type} process{'es' * (processes > 1)} (--parallel={mesh.parallel}), "
            f"{torch.get_num_threads()} thread(s) each",
            f"data {config.data.name}: {data.describe()}; augment={config.data.augment}, "
            f"normalize={config.data.normalize}, loader={data.loader}",
            f"batch {config.train.batch_size} = {shared}, {mesh.columns} process{'es' * (mesh.columns > 1)} "
            f"per replica, {data.train.steps_per_epoch:,} steps per epoch; chance-level loss: ln {classes} = {math.log(classes):.3f}",
        ]
    )
