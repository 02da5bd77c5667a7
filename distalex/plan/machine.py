"""The machine that a prediction is for: a cluster described by data sheets, or this machine as measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from distalex.config.loading import read_yaml
from distalex.config.schema import Float, Int, Section, check_key, nearest, options_of, validate
from distalex.errors import UserError
from distalex.plan.layers import Layer


class Link(NamedTuple):
    """A link from a device, or a host, to others."""

    latency: float
    """Seconds before the first byte arrives."""
    bandwidth: float
    """Bytes per second in one direction."""


class Timing(NamedTuple):
    """Measured seconds of one layer, as a line through two batch sizes."""

    forward_fixed: float
    """Seconds of a forward pass on any batch."""
    forward_image: float
    """Seconds for each image on top."""
    backward_fixed: float
    """Seconds of a backward pass on any batch."""
    backward_image: float
    """Seconds for each image on top."""


class Pass(NamedTuple):
    """Seconds of a layer's passes."""

    forward: float
    """Seconds of the forward pass."""
    backward: float
    """Seconds of the backward pass."""


@dataclass(frozen=True)
class Machine:
    """Devices and the links between them. Rates are of one device."""

    name: str
    flops: float
    """Peak floating-point operations per second in the precision of the run."""
    efficiency: float
    """Share of the peak that the layers' matrix products reach."""
    memory_bandwidth: float
    """Bytes per second."""
    memory: float
    """Bytes."""
    gather: Link
    """Within a node, for activations that every device of a group gets."""
    reduce: Link
    """Within a node, for gradients that are added up."""
    between: Link
    """Between nodes; the bandwidth is that of a whole node."""
    devices_per_node: int
    scatter: Link | None = None
    """Within a node, for a reduce-scatter, where it was measured; else it takes half an all-reduce."""
    overlap: float = 1.0
    """Share of an exchange that overlaps with compute."""
    host_step: float = 0.0
    """Seconds in which the host launches a step's work; a device that is faster waits for it."""
    host_exchange: float = 0.0
    """Seconds on top for every exchange of activations."""
    computes_in_bf16: bool = False
    """Whether activations have 2 bytes, not 4."""
    timings: Mapping[str, Timing] = field(default_factory=dict)
    """Measured layers by `layer/parts`, where `parts` devices divide the layer. Empty where the machine is only described."""

    def seconds(self, layer: Layer, parts: int, images: int, rounds: int = 1) -> Pass:
        """Return one device's time for a layer that `parts` devices divide, on `images` in `rounds`."""
        if not self.timings:
            return self._estimate(layer, parts, images, rounds)
        timing, scale = self.timings.get(f"{layer.name}/{parts}"), 1.0
        if timing is None:
            timing, scale = self.timings[f"{layer.name}/1"], 1.0 / parts
        return Pass(
            scale * (timing.forward_fixed * rounds + timing.forward_image * images),
            scale * (timing.backward_fixed * rounds + timing.backward_image * images),
        )

    def _estimate(self, layer: Layer, parts: int, images: int, rounds: int) -> Pass:
        """Estimate the matrix product by its roofline, and what follows it by its memory traffic.

        Weights are read once in each round and pass. The tensors saved for the backward pass stand for the traffic of ReLU,
        normalisation, pooling and dropout: written once forward; backward read, and a gradient of their size written.
        """
        width = 2 if self.computes_in_bf16 else 4
        read = layer.inputs * (1 if layer.reads != "own" else 1 / parts)
        moved = (read + layer.outputs / parts) * width * images + 4 * layer.parameters / parts * rounds
        arithmetic = 2 * layer.macs / parts * images / (self.flops * self.efficiency)
        forward = max(arithmetic, moved / self.memory_bandwidth)
        after = layer.kept / parts * images / self.memory_bandwidth
        products = 1 if layer.reads == "image" else 2  # the first layer needs no gradient of its input
        return Pass(forward + after, products * forward + 2 * after)

    def all_gather(self, nbytes: float, devices: int) -> float:
        """Return the seconds in which each of `devices` sends its `nbytes` to every other."""
        link = self._link(self.gather, devices <= self.devices_per_node)
        return (devices - 1).bit_length() * link.latency + (devices - 1) * nbytes / link.bandwidth

    def all_reduce(self, nbytes: float, devices: int, world_size: int, shared_by: int = 1) -> float:
        """Return the seconds in which `devices` all-reduce `nbytes`.

        Bytes are those of a ring and latency that of a tree, since libraries choose the better of the two. `shared_by` groups use the
        same network cards at once.
        """
        if devices == 1:
            return 0.0
        link = self._link(self.reduce, world_size <= self.devices_per_node, shared_by)
        return 2 * (devices - 1).bit_length() * link.latency + 2 * (devices - 1) / devices * nbytes / link.bandwidth

    def reduce_scatter(self, nbytes: float, devices: int) -> float:
        """Return the seconds in which `devices` sum `nbytes` of each and keep a share each."""
        if self.scatter is None or devices > self.devices_per_node:
            return self.all_reduce(nbytes, devices, devices) / 2
        return (devices - 1).bit_length() * self.scatter.latency + (devices - 1) / devices * nbytes / self.scatter.bandwidth

    def _link(self, within: Link, on_one_node: bool, shared_by: int = 1) -> Link:
        if on_one_node:
            return within
        sharing = min(shared_by, self.devices_per_node)
        return Link(self.between.latency, min(within.bandwidth, self.between.bandwidth / sharing))


class ClusterLink(Section):
    """A link of a described cluster."""

    latency: Float = Field(gt=0)
    """Seconds."""
    bandwidth: Float = Field(gt=0)
    """Bytes per second in one direction."""


class Cluster(Section):
    """A cluster as a YAML file describes it."""

    name: str = Field(min_length=1)
    """Name of the cluster, which is printed."""
    fp32_flops: Float = Field(gt=0)
    """Peak operations per second of a device in fp32."""
    bf16_flops: Float = Field(gt=0)
    """Peak operations per second of a device in bf16, without sparsity."""
    memory_bandwidth: Float = Field(gt=0)
    """Bytes per second of a device's memory."""
    memory: Float = Field(gt=0)
    """Bytes of a device's memory."""
    within: ClusterLink
    """Link of a device to the others of its host."""
    between: ClusterLink
    """Link of a whole host to the others."""
    devices_per_node: Int = Field(ge=1)
    """Devices of one host."""
    efficiency: Float = Field(0.5, gt=0, le=1)
    """Share of the peak that the layers' matrix products reach."""
    overlap: Float = Field(1.0, ge=0, le=1)
    """Share of an exchange that overlaps with compute."""
    host_step: Float = Field(0.001, ge=0)
    """Seconds in which the host launches a step's work."""
    host_exchange: Float = Field(0.00005, ge=0)
    """Seconds on top for every exchange of activations."""


EFFICIENCY = 0.237
"""Of the peak, in GPU presets. An assumption, set so that one A100-PCIe trains torchvision's network in bf16 at the published
16,487 images/s at a batch of 512; the other published figures (2, 4 and 8 of them) are left to check the model with."""


def _gpu(
    name: str, fp32: float, bf16: float, memory_bandwidth: float, memory: float, link: float, network: float, per_node: int = 8
) -> Cluster:
    """Units as in data sheets: TFLOP/s, GB/s, GB, GB/s in one direction of a device's link and of a node's network."""
    return Cluster(
        name=name,
        fp32_flops=fp32 * 1e12,
        bf16_flops=bf16 * 1e12,
        memory_bandwidth=memory_bandwidth * 1e9,
        memory=memory * 1e9,
        within=ClusterLink(latency=1e-5, bandwidth=link * 1e9),
        between=ClusterLink(latency=2e-5, bandwidth=network * 1e9),
        devices_per_node=per_node,
        efficiency=EFFICIENCY,
    )


PRESETS = {
    # NVIDIA V100 data sheet (2020), SXM2 32 GB, and DGX-1: NVLink 300 GB/s both ways together, 4 x 100 Gb/s network. It has no
    # bf16 units, so bf16 runs at the fp32 rate.
    "v100": _gpu("v100", 15.7, 15.7, 900, 32, 150, 50),
    # NVIDIA A100 data sheet (2022), SXM 80 GB, and DGX A100: NVLink 600 GB/s both ways together, 8 x 200 Gb/s network.
    "a100": _gpu("a100", 19.5, 312, 2039, 80, 300, 200),
    # The same data sheet, PCIe 40 GB (1,555 GB/s): PCIe 4.0 x16, 64 GB/s both ways together. One 200 Gb/s card a node is assumed.
    "a100_pcie": _gpu("a100_pcie", 19.5, 312, 1555, 40, 32, 25),
    # NVIDIA H100 data sheet (2023), SXM; bf16 without sparsity, and DGX H100: NVLink 900 GB/s both ways together, 8 x 400 Gb/s.
    "h100": _gpu("h100", 67, 989, 3350, 80, 450, 400),
    # NVIDIA H200 data sheet (2024), SXM: an H100 with 141 GB at 4.8 TB/s; in a node as that.
    "h200": _gpu("h200", 67, 989, 4800, 141, 450, 400),
    # NVIDIA Ada architecture whitepaper (2022), GeForce RTX 4090; bf16 with fp32 accumulation, dense. PCIe 4.0 x16 through the
    # host, which halves it; a 100 Gb/s network is assumed.
    "rtx4090": _gpu("rtx4090", 82.6, 165.2, 1008, 24, 16, 12.5, per_node=4),
    # Not a product: one core of a 2-core server with AVX-512 and bf16, whose measured matrix-product peak is 185 GFLOP/s in fp32
    # and 430 in bf16; processes of such a core each, over loopback and 10 Gb/s Ethernet. Exchanges take the cores' own time.
    "cpu": Cluster(
        name="cpu",
        fp32_flops=92e9,
        bf16_flops=215e9,
        memory_bandwidth=8e9,
        memory=8e9,
        within=ClusterLink(latency=5e-5, bandwidth=1e9),
        between=ClusterLink(latency=1e-4, bandwidth=1.25e9),
        devices_per_node=2,
        efficiency=0.8,
        overlap=0.0,
        host_step=0.0,
        host_exchange=0.0,
    ),
}


def described(name: str, precision: str, devices_per_node: int | None = None) -> Machine:
    """Return the machine that the preset or YAML file `name` describes. Raises UserError where there is none or it has a mistake."""
    if name in PRESETS:
        cluster = PRESETS[name]
    elif Path(name).is_file():
        values, places = read_yaml(Path(name))
        for key, place in places.items():
            if key not in ("within", "between") or not isinstance(values[key], dict):
                check_key(key, place, Cluster)
        for key, option in options_of(Cluster):
            if option.is_required() and key not in places:
                raise UserError(f"{name}: {key} is missing ({option.description}); docs/scaling.md has an example")
        cluster = validate(Cluster, values, places)
    else:
        known = ["this", *PRESETS]
        raise UserError(f"machine={name} (command line): no such file{nearest(name, known)}; there are {', '.join(known)}")
    within = Link(cluster.within.latency, cluster.within.bandwidth)
    machine = Machine(
        name=cluster.name,
        flops=cluster.bf16_flops if precision == "bf16" else cluster.fp32_flops,
        efficiency=cluster.efficiency,
        memory_bandwidth=cluster.memory_bandwidth,
        memory=cluster.memory,
        gather=within,
        reduce=within,
        between=Link(cluster.between.latency, cluster.between.bandwidth),
        devices_per_node=cluster.devices_per_node,
        overlap=cluster.overlap,
        host_step=cluster.host_step,
        host_exchange=cluster.host_exchange,
        computes_in_bf16=precision == "bf16",
    )
    return replace(machine, devices_per_node=devices_per_node) if devices_per_node else machine
