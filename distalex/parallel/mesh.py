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
    """The (dp, mp) mesh as one process sees it: its replica, its column and its device."""

    topology: Topology
    """Ranks and numbers of processes."""
    device: torch.device
    """Device that this process computes on."""
    parallel: str = "none"
    """Parallel mode, never `auto`."""
    replica: int = 0
    """Number of this process's replica."""
    replicas: int = 1
    """Number of replicas."""
    column: int = 0
    """Number of this process among those that divide its replica's network."""
    columns: int = 1
    """Number of processes that divide a replica's network. Each may hold several of the network's columns."""
    devices: DeviceMesh | None = None
    """PyTorch's mesh with its process groups `dp` and `mp`; None for one process."""
    traffic: Traffic = field(default_factory=Traffic, compare=False)
    """What communication costs this process."""
    last_beat: list[float] = field(default_factory=lambda: [-math.inf], compare=False)
    """When `beat` last wrote, in seconds."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.topology.rank

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes the run directory and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.topology.world_size == 1

    @property
    def spreads_images(self) -> bool:
        """Whether the processes of a replica convolve different images (One Weird Trick), not all of them the same."""
        return mode_of(self.parallel).SPREADS_IMAGES

    @property
    def shards_parameters(self) -> bool:
        """Whether replicas shard their parameters (FSDP), so that each of them takes part in every pass, also without images."""
        return mode_of(self.parallel).SHARDS_PARAMETERS

    @property
    def other_columns(self) -> list[int]:
        """Numbers of the other processes that divide this replica's network."""
        return [column for column in range(self.columns) if column != self.column]

    @property
    def gradient_group(self) -> dist.ProcessGroup | None:
        """The processes that all-reduce gradients of the parameters that all of them hold; None where there is one such process."""
        if self.devices is None or (self.replicas == 1 and not self.spreads_images):
            return None
        return self.devices.get_group("mp" if self.spreads_images else "dp")

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over the replicas, on every rank and in place."""
        if self.devices is not None and self.replicas > 1:
            dist.all_reduce(values, group=self.devices.get_group("dp"))
        return values

    def sum_over_columns(self, values: Tensor) -> Tensor:
        """Sum `values` over the processes that divide a replica's network, on each of them and in place."""
        if self.devices is not None and self.columns > 1:
            dist.all_reduce(values, group=self.devices.get_group("mp"))
        return values

    def any(self, condition: bool) -> bool:
        """Return, on every rank, whether `condition` holds on any rank. Communicates on the CPU and does not wait for a GPU."""
        return bool(self.largest(float(condition)))

    def largest(self, value: float) -> float:
        """Return, on every rank, the largest `value` of all ranks. Communicates on the CPU and does not wait for a GPU."""
        if self.alone:
            return value
        largest = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return largest.item()

    def expect_answers_within(self, seconds: float) -> None:
        """Set the collective time-out, in seconds."""
        if self.devices is not None:
            set_timeout = getattr(dist, "set_timeout", None) or distributed_c10d._set_pg_timeout  # its name before PyTorch 2.14
            for group in (None, *self.devices.get_all_groups()):
                set_timeout(timedelta(seconds=seconds), group)

    def beat(self) -> None:
        """Record, at most once a second, that this process is alive; `start_processes` names the process that stopped doing so."""
        if not self.alone and time.monotonic() - self.last_beat[0] > 1.0:
            self.last_beat[0] = time.monotonic()
            distributed_c10d._get_default_store().set(f"distalex/beat/{self.rank}", str(time.time()))

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        if not self.alone:
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def from_first(self, value: Any) -> Any:
        """Return rank 0's `value` on every rank. Plain values only."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def start_exchange(self, outgoing: Sequence[Tensor], shapes: Sequence[Sequence[int]], purpose: str) -> Arriving:
        """Start an all-to-all over the columns: send `outgoing[i]` to column i and receive a contiguous tensor of `shapes[i]` from it.

        It is one collective with one buffer each way. Sends nothing to this process itself. `purpose`: name under which traffic is
        recorded. Compute meanwhile, then call `wait` on the result.
        """
        assert self.devices is not None
        leaving = [outgoing[column].reshape(-1) for column in self.other_columns]
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
    """Return the mesh of a job's processes, which have joined already, for a network of `columns` columns. Raises UserError."""
    dp, mp = layout(parallel, topology.world_size, columns)
    devices = init_device_mesh(device.type, (dp, mp), mesh_dim_names=("dp", "mp"))
    return Mesh(topology, device, parallel, devices.get_local_rank("dp"), dp, devices.get_local_rank("mp"), mp, devices)
