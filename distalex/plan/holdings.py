"""Exact numbers of what each process of a mesh holds, keeps in memory and sends in a step, without starting any."""

from __future__ import annotations

from typing import NamedTuple

from distalex import shares
from distalex.config.config import Config
from distalex.config.train import BYTES
from distalex.optim.optimizer import find_optimizer
from distalex.parallel.topology import Layout, mode_of
from distalex.parallel.traffic import all_reduce_bytes
from distalex.plan.layers import Layer


class Holding(NamedTuple):
    """What one process holds and computes in a training step."""

    rows: tuple[range, ...]
    """For every layer, the rows of weight and bias that it holds."""
    images: int
    """Images that it convolves."""
    joint_images: int
    """Images that pass through its fully connected layers: with One Weird Trick those of all processes."""
    divided: tuple[bool, ...]
    """For every layer, whether other processes hold the rest of its rows."""


class Sent(NamedTuple):
    """Bytes that a process sends in a step."""

    gradients: int
    """Gradients of parameters that D processes hold; a ring all-reduce sends 2 (D - 1) / D of their bytes, a reduce-scatter half of it."""
    activations: int
    """Activations that layers read of other processes, and their gradients."""
    images: int
    """Raw uint8 images that one process of a column group has loaded and the others need."""
    logits: int
    """Logits, so that every process of a replica computes the loss of the replica's images."""
    parameters: int = 0
    """Parameters that replicas gather of each other, forward and backward (FSDP)."""

    @property
    def of_the_network(self) -> int:
        """Bytes without images and logits, as run directories and papers count."""
        return self.gradients + self.activations + self.parameters


class Memory(NamedTuple):
    """Bytes that a process needs at the end of a forward pass, without buffers of kernels and of the allocator."""

    weights: int
    """Weights in fp32, their moving average, and with bf16 rounded copies; with FSDP also the largest layer while it is gathered."""
    gradients: int
    """Gradients in fp32; with FSDP also those of the largest layer before they are scattered."""
    optimizer: int
    """Optimizer state."""
    activations: int
    """Tensors saved for the backward pass."""


def holding(layers: tuple[Layer, ...], parallel: str, mesh: Layout, rank: int, batch: int) -> Holding:
    """Return what process `rank` of the mesh (mp innermost) holds of a network and of a global batch of `batch` images."""
    replica, column = divmod(rank, mesh.mp)
    spreads = mode_of(parallel).SPREADS_IMAGES
    divided = tuple(mesh.mp > 1 and not (spreads and layer.convolves) for layer in layers)
    rows = tuple(
        range(layer.rows)[shares.share(layer.rows, column, mesh.mp)] if cut else range(layer.rows)
        for layer, cut in zip(layers, divided, strict=True)
    )
    part = shares.share(batch, replica, mesh.dp)
    joint = part.stop - part.start
    own = sum(turn.stop - turn.start for turn in shares.shares_of_rounds(joint, column, mesh.mp)) if spreads else joint
    return Holding(rows, own, joint, divided)


def busiest(layers: tuple[Layer, ...], parallel: str, mesh: Layout, batch: int) -> Holding:
    """Return what the process with the most images and rows holds: shares differ by at most one, and the last is the largest."""
    return holding(layers, parallel, mesh, mesh.dp * mesh.mp - 1, batch)


def rounds_of(parallel: str, mesh: Layout, images: int) -> int:
    """Return the rounds in which One Weird Trick's fully connected layers take a step's images; 1 for other modes."""
    return shares.rounds_of(images, mesh.mp) if mode_of(parallel).SPREADS_IMAGES else 1


def takes_rounds(layers: tuple[Layer, ...], number: int, parallel: str) -> bool:
    """Return whether layer `number` reads all processes' activations in rounds: with One Weird Trick, the first fully connected one."""
    return mode_of(parallel).SPREADS_IMAGES and not layers[number].convolves and layers[number - 1].convolves


def parameters(layers: tuple[Layer, ...], held: Holding) -> int:
    """Return the number of parameters that a process holds."""
    return sum(len(rows) * layer.row_parameters for layer, rows in zip(layers, held.rows, strict=True))


def kept_rows(layer: Layer, rows: range, parallel: str, mesh: Layout, rank: int) -> range:
    """Return which of the `rows` of a layer that process `rank` computes with it keeps; with FSDP the first process has the most."""
    return rows[shares.chunks(layer.rows, mesh.dp)[rank]] if mode_of(parallel).SHARDS_PARAMETERS else rows


def sharded_bytes(config: Config, layer: Layer, parallel: str, mesh: Layout) -> tuple[int, int]:
    """Return the bytes that a process sends so that all gather a layer once, and that its gradients are reduce-scattered, with FSDP.

    Shards are padded to the size of the first.
    """
    if not mode_of(parallel).SHARDS_PARAMETERS:
        return 0, 0
    shard = shares.chunks(layer.rows, mesh.dp)[0].stop * layer.row_parameters * (mesh.dp - 1)
    return BYTES["fp32"] * shard, BYTES[config.train.reduce_precision] * shard * layer.learns(config.model)


def exchanged_parameters(layer: Layer, rows: range, cut: bool, parallel: str, mesh: Layout, frozen: bool) -> int:
    """Return the number of parameters of a layer that have their gradients all-reduced."""
    shared = (mesh.dp > 1 and not mode_of(parallel).SHARDS_PARAMETERS) or (mode_of(parallel).SPREADS_IMAGES and mesh.mp > 1 and not cut)
    return len(rows) * layer.row_parameters if shared and not frozen else 0


def activation_bytes(layers: tuple[Layer, ...], held: Holding, number: int, parallel: str, mesh: Layout, column: int, width: int) -> int:
    """Return the bytes that a process sends so that the others can compute layer `number`, forward and backward."""
    layer = layers[number]
    if not held.divided[number] or layer.reads != "both":
        return 0
    if takes_rounds(layers, number, parallel):  # whole activations of the process's images, and gradients of the other processes'
        return width * layer.inputs * (held.images * (mesh.mp - 1) + held.joint_images - held.images)
    part = shares.share(layer.inputs, column, mesh.mp)
    own = part.stop - part.start
    return width * held.joint_images * (own * (mesh.mp - 1) + layer.inputs - own)


def sent(config: Config, layers: tuple[Layer, ...], parallel: str, mesh: Layout, rank: int, batch: int) -> Sent:
    """Return the bytes that process `rank` sends in a step of `batch` images."""
    held, column = holding(layers, parallel, mesh, rank, batch), rank % mesh.mp
    width = BYTES[config.train.precision]
    spreads = mode_of(parallel).SPREADS_IMAGES
    ring = mesh.mp if spreads else mesh.dp
    shared = sum(
        exchanged_parameters(layer, rows, cut, parallel, mesh, not layer.learns(config.model))
        for layer, rows, cut in zip(layers, held.rows, held.divided, strict=True)
    )
    activations = sum(activation_bytes(layers, held, number, parallel, mesh, column, width) for number in range(len(layers)))
    read = shares.share(held.joint_images, column, mesh.mp)
    sharded = [sharded_bytes(config, layer, parallel, mesh) for layer in layers]
    passes = config.train.accumulate
    gathers_images = mesh.mp > 1 and not spreads
    return Sent(
        gradients=all_reduce_bytes(BYTES[config.train.reduce_precision] * shared, ring) + passes * sum(one[1] for one in sharded),
        activations=activations,
        images=(read.stop - read.start) * (mesh.mp - 1) * 3 * config.data.side**2 if gathers_images else 0,
        logits=width * held.joint_images * len(held.rows[-1]) * (mesh.mp - 1),
        parameters=2 * passes * sum(one[0] for one in sharded),
    )


def memory(config: Config, layers: tuple[Layer, ...], parallel: str, mesh: Layout, rank: int, batch: int) -> Memory:
    """Return the bytes of memory that process `rank` needs for a step of `batch` images."""
    held = holding(layers, parallel, mesh, rank, batch)
    bf16 = config.train.precision == "bf16"
    width = BYTES[config.train.precision]
    learning, kept, held_parameters = 0, 0.0, 0
    for layer, rows in zip(layers, held.rows, strict=True):
        part = len(rows) / layer.rows
        images = held.images if layer.convolves else held.joint_images
        inputs = layer.inputs * (part if layer.reads == "own" else 1)  # those of all columns where it reads them
        kept += -(-images // config.train.accumulate) * (width * inputs + layer.kept * part)
        own = len(kept_rows(layer, rows, parallel, mesh, rank)) * layer.row_parameters
        learning += own * layer.learns(config.model)
        held_parameters += own
    # With FSDP the backward pass has a layer's parameters, its gradients and their copy in the buffer of the reduce-scatter; rounded copies
    # for bf16 are of whole layers.
    whole = 4 * max(layer.parameters for layer in layers) if mode_of(parallel).SHARDS_PARAMETERS else 0
    rounded = 2 * bf16 * parameters(layers, held)
    return Memory(
        weights=4 * (1 + (config.train.ema is not None)) * held_parameters + rounded + whole,
        gradients=4 * learning + 2 * whole,
        optimizer=find_optimizer(config.optim.name).state_bytes(config.optim) * learning,
        activations=round(kept),
    )
