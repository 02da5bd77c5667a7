"""The cost model: seconds of a training step, from what the busiest process computes, waits for and rewrites.

A step is the sum of
- computing: every layer's forward and backward pass on the images and rows of one process;
- exchange, exposed: a layer that reads every column starts its exchange, computes the part fed by its own column
  meanwhile and waits for the rest; so does its backward pass, which computes the own part's gradients. One Weird Trick's
  fc6 instead takes the batch in rounds, and a round's activations cross while the one before is computed. Logits hide
  behind nothing, and images behind the step before;
- gradients, exposed: buckets of 25 MB leave as soon as the backward pass has filled them, one after the other, and what
  has not arrived at its end is waited for, the last bucket always;
- the optimizer: its reading and writing of every parameter, at the memory's bandwidth;
- waiting for the host, where telling the device what to do takes longer than all that.
Only `Machine.overlap` of an exchange hides: all of it where links work by themselves, none of it where the processor that
computes also has to carry the bytes. The loader is left out: it has to keep up, and `data_wait_fraction` of a run says
whether it does.
"""

from __future__ import annotations

from dataclasses import dataclass

from distalex.config.choices import declared_in
from distalex.config.config import MODES, Config
from distalex.config.data import DataConfig
from distalex.data.sources.find import classes_of as known_classes
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
    memory,
    rounds_of,
    sent,
    takes_rounds,
)
from distalex.plan.layers import Layer, layers_of
from distalex.plan.machine import Machine, Pass

ASSUMED_CLASSES = 1000  # where the data do not say how many they have: ImageNet's
FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20  # DistributedDataParallel's


@dataclass(frozen=True)
class Prediction:
    """What a division of the network among devices is expected to do."""

    parallel: str
    world_size: int
    dp: int
    mp: int
    batch: int
    """Images of a step over all devices."""
    images_per_second: float
    compute: float
    """Seconds of forward and backward passes."""
    exchange: float
    """Seconds of activations, logits and images that hide behind nothing."""
    gradients: float
    """Seconds of gradients that hide behind nothing, their copying into buckets included."""
    optimizer: float
    """Seconds."""
    host: float
    """Seconds in which the device waits to be told what to do."""
    sent: Sent
    """Bytes of the busiest process in a step."""
    memory: Memory
    """Bytes of the busiest process."""
    fits: bool
    """Whether that is less than a device's memory."""

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.batch / self.images_per_second


def predict(config: Config, classes: int, machine: Machine, parallel: str, world_size: int, batch: int) -> Prediction:
    """A training step of `config` with `classes` classes, divided by `parallel` among `world_size` devices.

    Raises UserError where they cannot be divided so.
    """
    mesh = layout(parallel, world_size, config.model.columns)
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    held = busiest(layers, parallel, mesh, batch)
    passes = _passes(layers, held, machine, parallel, mesh)
    traffic = sent(config, layers, parallel, mesh, world_size - 1, batch)
    compute = sum(seconds.forward + seconds.backward for seconds in passes)
    exchange = _exchange(config, layers, held, passes, traffic, machine, parallel, mesh)
    gradients = _gradients(config, layers, held, passes, machine, parallel, mesh)
    learning = sum(
        len(rows) * layer.row_parameters for layer, rows in zip(layers, held.rows, strict=True) if layer.name not in config.model.freeze
    )
    optimizer = find_optimizer(config.optim.name).UPDATE_BYTES * learning / machine.memory_bandwidth
    busy = compute + exchange + gradients + optimizer
    rounds = rounds_of(parallel, mesh, held.joint_images)
    exchanges = rounds * (2 * sum(map(_reads_all, layers, held.divided)) + 1) if mesh.mp > 1 else 0
    host = max(0.0, machine.host_step + exchanges * machine.host_exchange - busy)
    needed = memory(config, layers, parallel, mesh, world_size - 1, batch)
    return Prediction(
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
    """Exposed seconds of activations, logits and images."""
    if mesh.mp == 1:
        return 0.0
    width = 2 if config.train.precision == "bf16" else 4
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
    """Seconds in which a device sends `nbytes` in all to the others of its group, in `rounds` exchanges."""
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
    """Seconds from the end of the backward pass to the last gradient's arrival, and of copying them into buckets."""
    spreads = mode_of(parallel).SPREADS_IMAGES
    devices = mesh.mp if spreads else mesh.dp
    clock = arrival = on_the_way = 0.0
    waiting = total = 0
    for number in reversed(range(len(layers))):
        layer, rows, cut = layers[number], held.rows[number], held.divided[number]
        clock += passes[number].backward
        nbytes = 4 * exchanged_parameters(layer, rows, cut, parallel, mesh, layer.name in config.model.freeze)
        waiting, total = waiting + nbytes, total + nbytes
        if waiting and (number == 0 or waiting >= (FIRST_BUCKET if on_the_way == 0 else BUCKET)):
            seconds = machine.all_reduce(waiting, devices, mesh.dp * mesh.mp, 1 if spreads else mesh.mp)
            arrival = max(clock, arrival) + seconds
            on_the_way, waiting = on_the_way + seconds, 0
    hidden = max(0.0, on_the_way - max(0.0, arrival - clock))
    return on_the_way - machine.overlap * hidden + 2 * total / machine.memory_bandwidth


def rank(
    config: Config, classes: int, machine: Machine, world_size: int, batches: tuple[int, ...], modes: tuple[str, ...] = ()
) -> list[Prediction]:
    """Every mode that can divide the network among `world_size` devices, at every batch: the fastest first.

    What does not fit into memory comes last. `modes` restricts them.
    """
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    candidates = modes or tuple(name for name, mode in declared_in(MODES).items() if mode.facts["LEAST"] <= world_size)
    names = [mode for mode in candidates if divides(config, layers, mode, world_size)]
    predictions = [predict(config, classes, machine, mode, world_size, batch) for mode in names for batch in batches if batch >= world_size]
    return sorted(predictions, key=lambda prediction: (not prediction.fits, -prediction.images_per_second))


def divides(config: Config, layers: tuple[Layer, ...], parallel: str, world_size: int) -> bool:
    """Whether a mode can divide the network among so many devices, each of which needs a row of every divided layer."""
    try:
        mesh = layout(parallel, world_size, config.model.columns)
    except UserError:
        return False
    divided = rows_divided(layers, parallel)
    return min(divided) >= mesh.mp and not (mode_of(parallel).SPREADS_IMAGES and len(divided) < 2)


def rows_divided(layers: tuple[Layer, ...], parallel: str) -> list[int]:
    """Return the rows of every layer that the mode divides."""
    return [layer.rows for layer in layers if not (mode_of(parallel).SPREADS_IMAGES and layer.convolves)]


def classes_of(config: DataConfig) -> int:
    """Return the number of classes of the data, or `ASSUMED_CLASSES` where it is not known before the images are there."""
    return known_classes(config) or ASSUMED_CLASSES


def classes_text(config: DataConfig, classes: int) -> str:
    """Return e.g. `10 classes`, and that the number is assumed where that is so."""
    assumed = classes == ASSUMED_CLASSES and known_classes(config) is None
    return f"{classes:,} classes" + f" (assumed: data.name={config.name} does not say how many)" * assumed
