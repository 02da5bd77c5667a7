"""The cost model: seconds of a training step of the process with the most work.

A step is the sum of
- compute: every layer's forward and backward pass on the images and rows of one process;
- exposed exchange: a layer that reads every column computes the product with the local column during its exchange and waits for the
  rest; so does its backward pass, with the gradients of the local column. With One Weird Trick the first fully connected layer takes the
  batch in rounds, and a round's activations are sent while the round before is computed. Logits overlap with nothing, images with the
  step before;
- exposed gradients: buckets of 25 MB are all-reduced one after the other, each as soon as the backward pass has filled it; the step
  waits for those that have not arrived at its end, always for the last;
- optimizer: reads and writes of every parameter at the memory's bandwidth;
- with FSDP, exposed parameters (counted as exchange) and gradients: a layer is gathered while the layer before it computes, forward and
  backward, and its gradients are reduce-scattered while the next one computes;
- host: time in which the device waits for the host to launch its work.
`Machine.overlap` is the share of an exchange that overlaps with compute: all of it where links work by themselves, none where the
processor that computes also copies the bytes. Loading is left out: `data_wait_fraction` of a run measures it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from distalex.config.choices import declared_in
from distalex.config.config import MODES, Config
from distalex.config.data import DataConfig
from distalex.config.train import BYTES
from distalex.data.splits import classes_of
from distalex.errors import UserError
from distalex.optim.optimizer import find_optimizer
from distalex.parallel.topology import Layout, layout, mode_of
from distalex.plan.holdings import (
    Holding,
    Memory,
    Sent,
    activation_bytes,
    busiest,
    exchanged_parameters,
    kept_rows,
    memory,
    rounds_of,
    sent,
    sharded_bytes,
    takes_rounds,
)
from distalex.plan.layers import Layer, layers_of
from distalex.plan.machine import Machine, Pass

ASSUMED_CLASSES = 1000  # where the data do not say how many they have: ImageNet's
FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20  # DistributedDataParallel's


@dataclass(frozen=True)
class StepEstimate:
    """The predicted training step of one parallel mode on so many devices."""

    parallel: str
    """Parallel mode."""
    world_size: int
    """Number of devices."""
    dp: int
    """Number of replicas."""
    mp: int
    """Number of devices that divide a replica's network."""
    batch: int
    """Global batch size."""
    images_per_second: float
    """Images that all devices together train on in a second."""
    compute: float
    """Seconds of forward and backward passes."""
    exchange: float
    """Exposed seconds of activations, logits and images."""
    gradients: float
    """Exposed seconds of gradients, copies into buckets included."""
    optimizer: float
    """Seconds of the optimizer."""
    host: float
    """Seconds in which the device waits for the host."""
    sent: Sent
    """Bytes that the process with the most work sends in a step."""
    memory: Memory
    """Bytes of memory that it needs."""
    fits: bool
    """Whether a device has that much memory."""

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.batch / self.images_per_second


def predict(config: Config, classes: int, machine: Machine, parallel: str, world_size: int, batch: int) -> StepEstimate:
    """Predict a training step.

    Args:
        config: network, data and optimizer.
        classes: number of classes.
        machine: the devices.
        parallel: parallel mode.
        world_size: number of devices.
        batch: global batch size.

    Raises:
        UserError: the mode has no mesh for so many devices.
    """
    mesh = layout(parallel, world_size, config.model.columns)
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    held = busiest(layers, parallel, mesh, batch)
    passes = _passes(layers, held, machine, parallel, mesh)
    traffic = sent(config, layers, parallel, mesh, world_size - 1, batch)
    compute = sum(seconds.forward + seconds.backward for seconds in passes)
    if shards := mode_of(parallel).SHARDS_PARAMETERS:
        exchange, gradients = _sharding(config, layers, passes, machine, parallel, mesh)
    else:
        exchange = _exchange(config, layers, held, passes, traffic, machine, parallel, mesh)
        gradients = _gradients(config, layers, held, passes, machine, parallel, mesh)
    learning = sum(
        len(kept_rows(layer, rows, parallel, mesh, 0)) * layer.row_parameters
        for layer, rows in zip(layers, held.rows, strict=True)
        if layer.learns(config.model)
    )
    optimizer = find_optimizer(config.optim.name).UPDATE_BYTES * learning / machine.memory_bandwidth
    busy = compute + exchange + gradients + optimizer
    rounds = rounds_of(parallel, mesh, held.joint_images)
    exchanges = rounds * (2 * sum(map(_reads_all, layers, held.divided)) + 1) if mesh.mp > 1 else 0
    host = max(0.0, machine.host_step + exchanges * machine.host_exchange - busy)
    needed = memory(config, layers, parallel, mesh, 0 if shards else world_size - 1, batch)
    return StepEstimate(
        parallel,
        world_size,
        *mesh,
        batch,
        batch / (busy + host),
        compute,
        exchange,
        gradients,
        optimizer,
        host,
        traffic,
        needed,
        sum(needed) <= machine.memory,
    )


def _reads_all(layer: Layer, cut: bool) -> bool:
    return cut and layer.reads == "both"


def _passes(layers: tuple[Layer, ...], held: Holding, machine: Machine, parallel: str, mesh: Layout) -> list[Pass]:
    rounds = rounds_of(parallel, mesh, held.joint_images)
    return [
        machine.seconds(
            layer,
            mesh.mp if cut else 1,
            held.images if layer.convolves else held.joint_images,
            1 if layer.convolves else rounds,
        )
        for layer, cut in zip(layers, held.divided, strict=True)
    ]


def _exchange(
    config: Config,
    layers: tuple[Layer, ...],
    held: Holding,
    passes: list[Pass],
    traffic: Sent,
    machine: Machine,
    parallel: str,
    mesh: Layout,
) -> float:
    """Return exposed seconds of activations, logits and images."""
    if mesh.mp == 1:
        return 0.0
    width = BYTES[config.train.precision]
    rounds = rounds_of(parallel, mesh, held.joint_images)
    exposed = 0.0
    for number, layer in enumerate(layers):
        nbytes = activation_bytes(layers, held, number, parallel, mesh, mesh.mp - 1, width)
        if not nbytes:
            continue
        one_way = _rounds_of_gathers(machine, nbytes / 2, mesh.mp, 1 if layer.convolves else rounds)
        for way, seconds in enumerate(passes[number]):
            if takes_rounds(layers, number, parallel):
                behind = min(one_way, sum(layer_passes[way] for layer_passes in passes[number:])) * (rounds - 1) / rounds
            else:
                behind = min(one_way, seconds / mesh.mp)
            exposed += one_way - machine.overlap * behind
    exposed += _rounds_of_gathers(machine, traffic.logits, mesh.mp, rounds)
    return exposed + (1 - machine.overlap) * _rounds_of_gathers(machine, traffic.images, mesh.mp, 1)


def _rounds_of_gathers(machine: Machine, nbytes: float, devices: int, rounds: int) -> float:
    """Return the seconds in which a device sends `nbytes` in total to the others of its group, in `rounds` exchanges."""
    return rounds * machine.all_gather(nbytes / (devices - 1) / rounds, devices) if nbytes else 0.0


def _gradients(
    config: Config,
    layers: tuple[Layer, ...],
    held: Holding,
    passes: list[Pass],
    machine: Machine,
    parallel: str,
    mesh: Layout,
) -> float:
    """Return the seconds from the end of the backward pass to the last gradient's arrival, and of copies into buckets."""
    spreads = mode_of(parallel).SPREADS_IMAGES
    devices = mesh.mp if spreads else mesh.dp
    clock = arrival = on_the_way = 0.0
    waiting = total = 0
    for number in reversed(range(len(layers))):
        layer, rows, cut = layers[number], held.rows[number], held.divided[number]
        clock += passes[number].backward
        nbytes = BYTES[config.train.reduce_precision] * exchanged_parameters(
            layer, rows, cut, parallel, mesh, not layer.learns(config.model)
        )
        waiting, total = waiting + nbytes, total + nbytes
        if waiting and (number == 0 or waiting >= (FIRST_BUCKET if on_the_way == 0 else BUCKET)):
            seconds = machine.all_reduce(waiting, devices, mesh.dp * mesh.mp, 1 if spreads else mesh.mp)
            arrival = max(clock, arrival) + seconds
            on_the_way, waiting = on_the_way + seconds, 0
    hidden = max(0.0, on_the_way - max(0.0, arrival - clock))
    return on_the_way - machine.overlap * hidden + 2 * total / machine.memory_bandwidth


def _sharding(
    config: Config, layers: tuple[Layer, ...], passes: list[Pass], machine: Machine, parallel: str, mesh: Layout
) -> tuple[float, float]:
    """Return exposed seconds of gathering parameters and of reduce-scattering gradients (FSDP), copies into and out of buffers included."""
    gather, scatter = [], []
    copied = [0.0, 0.0]
    for layer in layers:
        gathered, scattered = sharded_bytes(config, layer, parallel, mesh)
        gather.append(machine.all_gather(gathered / (mesh.dp - 1), mesh.dp))
        scatter.append(machine.reduce_scatter(scattered * mesh.dp / (mesh.dp - 1), mesh.dp) if scattered else 0.0)
        # Each buffer is of whole layers, once written and once read.
        copied[0] += 2 * 2 * gathered * mesh.dp / (mesh.dp - 1) / machine.memory_bandwidth
        copied[1] += 2 * scattered * mesh.dp / (mesh.dp - 1) / machine.memory_bandwidth
    forward = sum(gather) - machine.overlap * sum(map(min, gather[1:], (one.forward for one in passes)))
    backward = sum(gather) - machine.overlap * sum(map(min, gather[:-1], (one.backward for one in passes[1:])))
    reduced = sum(scatter) - machine.overlap * sum(map(min, scatter[1:], (one.backward for one in passes)))
    times = config.train.accumulate
    return times * (forward + backward + copied[0]), times * (reduced + copied[1])


def rank(
    config: Config, classes: int, machine: Machine, world_size: int, batches: tuple[int, ...], modes: tuple[str, ...] = ()
) -> list[StepEstimate]:
    """Predict every mode that can divide the network among `world_size` devices, with every batch size of `batches`.

    Returns the fastest first, and those that do not fit into memory last. `modes` restricts the modes.
    """
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    candidates = modes or tuple(name for name, mode in declared_in(MODES).items() if mode.facts["LEAST"] <= world_size)
    names = [mode for mode in candidates if divides(config, layers, mode, world_size)]
    predictions = [predict(config, classes, machine, mode, world_size, batch) for mode in names for batch in batches if batch >= world_size]
    return fastest_first(predictions)


def fastest_first(predictions: Iterable[StepEstimate]) -> list[StepEstimate]:
    """Sort predictions: the fastest first, and those that do not fit into memory last."""
    return sorted(predictions, key=lambda prediction: (not prediction.fits, -prediction.images_per_second))


def divides(config: Config, layers: tuple[Layer, ...], parallel: str, world_size: int) -> bool:
    """Return whether a mode can divide the network among so many devices: each needs a row of every divided layer."""
    try:
        mesh = layout(parallel, world_size, config.model.columns)
    except UserError:
        return False
    divided = rows_divided(layers, parallel)
    return min(divided, default=mesh.mp) >= mesh.mp and not (mode_of(parallel).SPREADS_IMAGES and len(divided) < 2)


def rows_divided(layers: tuple[Layer, ...], parallel: str) -> list[int]:
    """Return the rows of every layer that the mode divides."""
    return [layer.rows for layer in layers if not (mode_of(parallel).SPREADS_IMAGES and layer.convolves)]


def classes_or_assumed(config: DataConfig) -> int:
    """Return the number of classes of the data, or `ASSUMED_CLASSES` where it is not known before the images are there."""
    return classes_of(config) or ASSUMED_CLASSES


def classes_text(config: DataConfig, classes: int) -> str:
    """Return e.g. `10 classes`, and that the number is assumed where that is so."""
    assumed = classes == ASSUMED_CLASSES and classes_of(config) is None
    return f"{classes:,} classes" + f" (assumed: data.name={config.name} does not say how many)" * assumed
