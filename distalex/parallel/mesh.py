"""The mesh of replicas and columns as one process sees it, and its collectives."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from distalex.parallel.topology import Topology, layout, mode_of
from distalex.parallel.traffic import Arriving, Traffic


@dataclass(frozen=True)
class Mesh:
    """The (dp, mp) mesh as this process sees it: its replica, its column, and the device it computes on."""

    topology: Topology
    device: torch.device
    parallel: str = "none"
    """As the configuration's, but never `auto`."""
    replica: int = 0
    replicas: int = 1
    column: int = 0
    """Which part of its replica's network this process has."""
    columns: int = 1
    """Processes that a replica's network is divided among. Each may hold several of the network's own columns."""
    devices: DeviceMesh | None = None
    traffic: Traffic = field(default_factory=Traffic, compare=False)
    last_beat: list[float] = field(default_factory=lambda: [-math.inf], compare=False)

    @property
    def rank(self) -> int:
        return self.topology.rank

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only one that writes files and talks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.topology.world_size == 1

    @property
    def spreads_images(self) -> bool:
        """Whether the processes of a replica convolve different images (One Weird Trick), not all of them the same."""
        return mode_of(self.parallel).SPREADS_IMAGES

    @property
    def gradient_group(self) -> dist.ProcessGroup | None:
        """The processes that add up gradients of parameters they all hold; None where there are none such."""
        if self.devices is None or (self.replicas == 1 and not self.spreads_images):
            return None
        return self.devices.get_group("mp" if self.spreads_images else "dp")

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the replicas, on every rank, in place."""
        if self.devices is not None and self.replicas > 1:
            dist.all_reduce(values, group=self.devices.get_group("dp"))
        return values

    def sum_over_columns(self, values: Tensor) -> Tensor:
        """The sum of `values` over the processes that share a replica's network, on each of them, in place."""
        if self.devices is not None and self.columns > 1:
            dist.all_reduce(values, group=self.devices.get_group("mp"))
        return values

    def any(self, condition: bool) -> bool:
        """Whether `condition` holds on any rank; the same answer on all. Crosses on the CPU, so a GPU is not waited for."""
        if self.alone:
            return condition
        flag = torch.tensor([float(condition)])
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def expect_answers_within(self, seconds: float) -> None:
        """From here on, a rank that keeps the others waiting for longer ends them."""
        if self.devices is not None:
            set_timeout = getattr(dist, "set_timeout", None) or distributed_c10d._set_pg_timeout  # its name before PyTorch 2.14
            for group in (None, *self.devices.get_all_groups()):
                set_timeout(timedelta(seconds=seconds), group)

    def beat(self) -> None:
        """Tell the other ranks, once a second at most, that this one is there."""
        if not self.alone and time.monotonic() - self.last_beat[0] > 1.0:
            self.last_beat[0] = time.monotonic()
            distributed_c10d._get_default_store().set(f"distalex/beat/{self.rank}", str(time.time()))

    def barrier(self) -> None:
        """Go on when every rank is here."""
        if not self.alone:
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def from_first(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank. Plain values only."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def start_exchange(self, outgoing: Sequence[Tensor], shapes: Sequence[Sequence[int]], purpose: str) -> Arriving:
        """Send `outgoing[i]` to column i, receive a contiguous tensor of `shapes[i]` from it; nothing passes to oneself.

        One collective, in one buffer each way. Compute meanwhile, then `wait`.
        """
        assert self.devices is not None
        others = [column for column in range(self.columns) if column != self.column]
        leaving = [outgoing[column].reshape(-1) for column in others]
        sending = leaving[0] if len(leaving) == 1 else torch.cat(leaving)
        counts = [0 if column == self.column else math.prod(shape) for column, shape in enumerate(shapes)]
        sizes = [0 if column == self.column else piece.numel() for column, piece in enumerate(outgoing)]
        received = sending.new_empty(sum(counts))
        work = dist.all_to_all_single(received, sending, counts, sizes, group=self.devices.get_group("mp"), async_op=True)
        pieces = [
            piece if column == self.column else piece.view(*shape)
            for column, (piece, shape) in enumerate(zip(received.split(counts), shapes, strict=True))
        ]
        assert work is not None
        return Arriving(pieces, sending, work, purpose, self.traffic)


def mesh_of(topology: Topology, device: torch.device, parallel: str, columns: int) -> Mesh:
    """The mesh of processes that have joined already, for a network of `columns` columns. Raises UserError."""
    dp, mp = layout(parallel, topology.world_size, columns)
    devices = init_device_mesh(device.type, (dp, mp), mesh_dim_names=("dp", "mp"))
    return Mesh(topology, device, parallel, devices.get_local_rank("dp"), dp, devices.get_local_rank("mp"), mp, devices)
