"""Processes, their mesh and device, and the collectives that the rest of distalex uses."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from distalex.config import Config
from distalex.errors import UserError
from distalex.topology import Topology, cores

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Mesh:
    """The (dp, mp) mesh as this process sees it: `replica` of `replicas`, and the device it computes on."""

    topology: Topology
    device: torch.device
    replica: int = 0
    replicas: int = 1
    devices: DeviceMesh | None = None

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

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the replicas, on every rank, in place."""
        if self.devices is not None:
            dist.all_reduce(values, group=self.devices.get_group("dp"))
        return values

    def any(self, condition: bool) -> bool:
        """Whether `condition` holds on any rank; the same answer on all. Crosses on the CPU, so a GPU is not waited for."""
        if self.alone:
            return condition
        flag = torch.tensor([float(condition)])
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def from_first(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank. Plain values only."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def start_processes(config: Config) -> Iterator[Mesh]:
    """Join this process to the mesh that `config.parallel` asks for; leaves it at the end, whatever happened.

    Without torchrun's variables there is one process and no process group. Raises UserError where the processes, the
    mesh and the devices do not fit.
    """
    topology = Topology.from_environment()
    topology.check_fits(config.parallel)
    device = choose_device(config.device, topology)
    torch.set_num_threads(config.train.threads or max(1, cores() // topology.local_world_size))
    keep_freed_memory()
    if config.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if topology.world_size == 1:
        yield Mesh(topology, device)
        return
    if topology.on_one_node and "GLOO_SOCKET_IFNAME" not in os.environ:
        # gloo asks the name service for this host's address, which fails on laptops and in containers (pytorch#44946)
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback:
            os.environ["GLOO_SOCKET_IFNAME"] = loopback
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT, device_id=device if device.type == "cuda" else None)
    try:
        devices = init_device_mesh(device.type, (topology.world_size, 1), mesh_dim_names=("dp", "mp"))
        yield Mesh(topology, device, devices.get_local_rank("dp"), devices.size(0), devices)
    finally:
        dist.destroy_process_group()


def choose_device(name: str, topology: Topology) -> torch.device:
    """The device of this process, made current. Raises UserError where there is no GPU for it."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("device=cuda: PyTorch sees no GPU here; use --device=cpu, or check the driver with nvidia-smi")
    gpus = torch.cuda.device_count()
    if topology.local_world_size > gpus:
        raise UserError(
            f"{topology.local_world_size} processes on this node but {gpus} GPU(s), and each process needs its own; "
            f"try --nproc_per_node={gpus} or --device=cpu"
        )
    device = torch.device("cuda", topology.local_rank)
    torch.cuda.set_device(device)  # before any loader: its threads pin memory on the current device
    return device


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: a CPU step frees and asks for gigabytes, and fresh pages cost a third of it."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
