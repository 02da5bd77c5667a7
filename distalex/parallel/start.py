"""Processes, their mesh and device, and the collectives that the rest of distalex uses."""

from __future__ import annotations

import ctypes
import math
import os
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.profiler import record_function
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous

from distalex.config.config import Config
from distalex.errors import TrainingError, UserError
from distalex.parallel.agreement import facts_of, require_agreement
from distalex.parallel.topology import Topology, cores, layout, share

TIMEOUT = timedelta(minutes=30)


class Traffic:
    """What communication costs this process: bytes it sends in a step, and seconds it waits with nothing left to compute.

    Both are kept by what they are for: `conv3`, `fc6`, `fc7` and `fc8` (what a layer reads of the other columns, and the
    gradients of that), `gradients`, and, counted apart because no network needs them, `images` and `logits`.
    """

    APART = ("images", "logits")

    def __init__(self) -> None:
        self.sent: dict[str, int] = defaultdict(int)
        self.collectives: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.last_gradients_started = 0.0
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def start_step(self) -> None:
        self.sent.clear()
        self.collectives.clear()
        self.last_gradients_started = 0.0

    def send(self, purpose: str, nbytes: int) -> None:
        self.sent[purpose] += nbytes
        self.collectives[purpose] += 1

    @property
    def bytes(self) -> int:
        """Sent in this step for the layers and the gradients."""
        return sum(count for purpose, count in self.sent.items() if purpose not in self.APART)

    @contextmanager
    def waiting(self, purpose: str, device: torch.device) -> Iterator[None]:
        """What is done inside only waits: on a GPU its stream, on a CPU this thread."""
        with record_function(f"waiting for {purpose}"):
            if device.type == "cuda":
                before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                before.record()
                yield
                after.record()
                self._events.append((purpose, before, after))
            else:
                started = time.perf_counter()
                yield
                self.seconds[purpose] += time.perf_counter() - started

    def backward_done(self, device: torch.device) -> None:
        """Nothing is left to compute when the last gradients start, so the time since then is exposed; unknown on a GPU."""
        if self.last_gradients_started:
            waited = time.perf_counter() - self.last_gradients_started
            self.seconds["gradients"] += waited if device.type == "cpu" else math.nan

    def take_seconds(self) -> dict[str, float]:
        """Exposed seconds by purpose since the last call. Waits for a GPU to get there."""
        if self._events:
            self._events[-1][2].synchronize()
        for purpose, before, after in self._events:
            self.seconds[purpose] += before.elapsed_time(after) / 1000.0
        self._events.clear()
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken


@dataclass
class Arriving:
    """What an exchange brings, once it is there."""

    pieces: list[Tensor]
    """From each device of the column group; the own one is empty."""
    sending: Tensor
    """Held until it has been sent."""
    work: dist.Work
    purpose: str
    traffic: Traffic

    def wait(self) -> list[Tensor]:
        """Once; what it sent counts to the step in which it is waited for."""
        self.traffic.send(self.purpose, self.sending.nbytes)
        with self.traffic.waiting(self.purpose, self.sending.device):
            self.work.wait()
        return self.pieces


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
    def spreads_pictures(self) -> bool:
        """Whether the devices of a replica convolve different pictures (One Weird Trick), and not all of them the same."""
        return self.parallel == "owt"

    @property
    def gradient_group(self) -> dist.ProcessGroup | None:
        """The processes that add up gradients of parameters they all hold; None where there are none such."""
        if self.devices is None or (self.replicas == 1 and not self.spreads_pictures):
            return None
        return self.devices.get_group("mp" if self.spreads_pictures else "dp")

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


@dataclass(frozen=True)
class Shards:
    """Which parameters this process holds some rows of (dim 0) and the rest of its column group the others."""

    mesh: Mesh
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of the whole parameter, of those that are divided; every process holds all of the rest."""

    def part(self, name: str, whole: Tensor) -> Tensor:
        """This process's rows of a parameter, or of anything of its shape."""
        return whole[share(self.rows[name], self.mesh.column, self.mesh.columns)] if name in self.rows else whole

    def whole(self, name: str, part: Tensor) -> Tensor | None:
        """The rows of all columns, on the CPU of rank 0; None elsewhere. Every process of the first replica has to call it."""
        mesh = self.mesh
        if name not in self.rows or mesh.columns == 1:
            return part.cpu() if mesh.is_first else None
        if mesh.replica:
            return None
        assert mesh.devices is not None
        places = [share(self.rows[name], column, mesh.columns) for column in range(mesh.columns)]
        inside = math.prod(part.shape[1:])
        counts = [inside * (rows.stop - rows.start) if mesh.is_first and column else 0 for column, rows in enumerate(places)]
        sending = part.reshape(-1) if mesh.column else part.new_empty(0)
        sizes = [sending.numel(), *[0] * (mesh.columns - 1)]
        received = part.new_empty(sum(counts))
        # Not send and recv, which with gloo wait for a rank that stands still as long as before the first step.
        dist.all_to_all_single(received, sending, counts, sizes, group=mesh.devices.get_group("mp"))
        if not mesh.is_first:
            return None
        joined = torch.empty((self.rows[name], *part.shape[1:]), dtype=part.dtype)
        joined[places[0]] = part.cpu()
        joined[places[0].stop :].view(-1).copy_(received)
        return joined

    def norms(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The Euclidean norm of each whole tensor, (number of them,), from this process's part of it."""
        norms = torch.stack(torch._foreach_norm(list(tensors.values())))
        if self.mesh.columns == 1:
            return norms
        divided = torch.tensor([name in self.rows for name in tensors]).to(norms.device, non_blocking=True)
        squares = self.mesh.sum_over_columns(torch.where(divided, norms.square(), 0.0))
        return torch.where(divided, squares.sqrt(), norms)


def _store_of(topology: Topology) -> dist.Store:
    """torchrun's store, where processes find each other; for processes that it starts again, without what those before left there.

    It keeps one store for all its attempts, with the addresses of processes that are gone. Only on one node does every process
    know the number of the attempt; several nodes need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, as launch/multinode.sh sets.
    """
    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt{attempt}", store) if topology.local_world_size == topology.world_size else store


@contextmanager
def start_processes(config: Config, choose: Callable[[Config, Topology, torch.device], str] | None = None) -> Iterator[Mesh]:
    """Join this process to the mesh that `config.parallel` asks for; leaves it at the end, whatever happened.

    `choose` names the mode for these processes where the configuration says `auto`; only rank 0 is asked, and `data` is
    taken where it is None. Without torchrun's variables there is one process and no process group. Raises UserError where
    the processes, the mesh and the devices do not fit.
    """
    topology = Topology.from_environment()
    parallel: str = config.parallel
    columns = config.model.columns
    if parallel == "auto" and (choose is None or topology.world_size == 1):
        parallel = "data"
    if parallel != "auto":
        layout(parallel, topology.world_size, columns)
    device = choose_device(config.device, topology)
    torch.set_num_threads(config.train.threads or max(1, cores() // topology.local_world_size))
    keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not config.train.deterministic
        torch.backends.cudnn.allow_tf32 = False  # 10 bits in what is called fp32; who wants speed asks for bf16
    if config.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if topology.world_size == 1:
        yield Mesh(topology, device, parallel)
        return
    if topology.on_one_node and "GLOO_SOCKET_IFNAME" not in os.environ:
        # gloo asks the name service for this host's address, which fails on laptops and in containers (pytorch#44946)
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback:
            os.environ["GLOO_SOCKET_IFNAME"] = loopback
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=_store_of(topology),
        rank=topology.rank,
        world_size=topology.world_size,
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        require_agreement(facts_of(config, device))
        if parallel == "auto":
            assert choose is not None
            parallel = _agree(partial(choose, config, topology, device), topology)
        yield mesh_of(topology, device, parallel, columns)
    except RuntimeError as error:
        if "timed out waiting" in str(error).lower():
            raise TrainingError(_who_is_silent(topology)) from error
        raise
    finally:
        dist.destroy_process_group()


def _who_is_silent(topology: Topology) -> str:
    """Which rank has kept the others waiting: the one that does not say, as all who waited do now, that it is there."""
    store, started = distributed_c10d._get_default_store(), time.time()
    keys = {rank: f"distalex/beat/{rank}" for rank in range(topology.world_size)}
    store.set(keys[topology.rank], str(started))
    time.sleep(3.0)
    heard = {rank: float(store.get(key)) for rank, key in keys.items() if store.check([key])}
    first = min(heard, key=lambda rank: heard[rank])
    if heard[first] > started - 3.0:
        return "another process of this job does not answer; its own message may say why"
    return (
        f"rank {first} does not answer and was last heard of {started - heard[first]:.0f} s ago: it is stopped, stuck or out of memory; "
        "where it is only slow, give it longer with --train.timeout=SECONDS"
    )


def mesh_of(topology: Topology, device: torch.device, parallel: str, columns: int) -> Mesh:
    """The mesh of processes that have joined already, for a network of `columns` columns. Raises UserError."""
    dp, mp = layout(parallel, topology.world_size, columns)
    devices = init_device_mesh(device.type, (dp, mp), mesh_dim_names=("dp", "mp"))
    return Mesh(topology, device, parallel, devices.get_local_rank("dp"), dp, devices.get_local_rank("mp"), mp, devices)


def _agree(choose: Callable[[], str], topology: Topology) -> str:
    """Rank 0's choice, or its UserError, on every rank."""
    word = ["", ""]
    if topology.rank == 0:
        try:
            word[0] = choose()
        except UserError as error:
            word[1] = str(error)
    dist.broadcast_object_list(word, src=0)
    if word[1]:
        raise UserError(word[1])
    return word[0]


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
