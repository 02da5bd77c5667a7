"""Start of a job: processes join their group, choose devices and a parallel mode."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from distalex.errors import TrainingError, UserError
from distalex.machine.addresses import interface_of, own_address_towards
from distalex.machine.resources import cores_of_each, keep_freed_memory
from distalex.parallel.agreement import require_agreement
from distalex.parallel.mesh import Mesh, mesh_of
from distalex.parallel.topology import Topology, layout

STORE_ANSWERS = 5.0  # seconds within which the store answers, or is lost
DETERMINISTIC_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""Environment variable without which cuBLAS is not deterministic."""
TIMEOUT = timedelta(minutes=30)
"""Collective time-out until `Mesh.expect_answers_within` sets another."""


def _store_of(topology: Topology) -> dist.Store:
    """Return torchrun's store, in which processes find each other, without the entries of earlier attempts.

    torchrun keeps one store when it restarts processes, with the addresses of those that are gone. Only on one host does every process
    know the number of the attempt; several hosts need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, which launch/multinode.sh sets.
    """
    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt{attempt}", store) if topology.on_one_node else store


@contextmanager
def start_processes(
    parallel: str,
    columns: int = 1,
    device: str = "auto",
    threads: int = 0,
    deterministic: bool = False,
    *,
    facts: Callable[[torch.device], Mapping[str, Any]] = lambda _: {},
    choose: Callable[[Topology, torch.device], str] | None = None,
) -> Iterator[Mesh]:
    """Join this process to a mesh, and leave it at the end of the context.

    Without torchrun's variables there is one process and no process group.

    Args:
        parallel: mode; `auto` is what `choose` returns.
        columns: of the network.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of this process; 0 shares the host's cores.
        deterministic: use only GPU kernels with the same result in every run.
        facts: given the device, plain values by name that all processes must have in common.
        choose: returns the mode for `auto`; called on rank 0. Without it `auto` means `data`.

    Raises:
        UserError: processes, mesh and devices do not fit together, or `facts` differ.
        TrainingError: a collective timed out; names the process that does not answer.
    """
    topology = Topology.from_environment()
    if parallel == "auto" and (choose is None or topology.world_size == 1):
        parallel = "data"
    if parallel != "auto":
        layout(parallel, topology.world_size, columns)
    chosen = choose_device(device, topology)
    with _settings_restored():
        torch.set_num_threads(threads or cores_of_each(topology.local_world_size))
        keep_freed_memory()
        _set_kernels(chosen, deterministic)
        if topology.world_size == 1:
            yield Mesh(topology, chosen, parallel)
            return
        with _group(topology, chosen):
            require_agreement(facts(chosen))
            if parallel == "auto":
                assert choose is not None
                parallel = _agree(partial(choose, topology, chosen), topology)
            yield mesh_of(topology, chosen, parallel, columns)


@contextmanager
def _group(topology: Topology, device: torch.device) -> Iterator[None]:
    """Join the group of all processes, and leave it at the end. Raises TrainingError, naming the silent process, for a time-out."""
    _join_group(topology, device)
    try:
        yield
    except RuntimeError as error:
        if "timed out waiting" in str(error).lower():
            raise TrainingError(_who_is_silent(topology)) from error
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def _settings_restored() -> Iterator[None]:
    """Restore, at the end, what a run sets in all of PyTorch, for a program that goes on after it."""
    threads, cudnn, variable = torch.get_num_threads(), torch.backends.cudnn, os.environ.get(DETERMINISTIC_CUBLAS)
    flags = cudnn.benchmark, cudnn.allow_tf32
    deterministic = _determinism()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.benchmark, cudnn.allow_tf32 = flags
        if _determinism() != deterministic:  # setting it imports the compiler, which takes two seconds
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        if variable is None:
            os.environ.pop(DETERMINISTIC_CUBLAS, None)


def _determinism() -> tuple[bool, bool]:
    """Return whether PyTorch uses deterministic kernels alone, and whether it only warns of others."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_kernels(device: torch.device, deterministic: bool) -> None:
    """Choose among PyTorch's GPU kernels: no TF32, and only deterministic ones where asked for."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not deterministic
        torch.backends.cudnn.allow_tf32 = False  # TF32 has 10 bits of mantissa; bf16 is the option for speed
    if deterministic:
        os.environ.setdefault(DETERMINISTIC_CUBLAS, ":4096:8")
        torch.use_deterministic_algorithms(True)


def _join_group(topology: Topology, device: torch.device) -> None:
    """Join the group of all processes: gloo on CPUs, NCCL between GPUs."""
    variables = loopback_variables() if topology.on_one_node else _variables_towards(os.environ.get("MASTER_ADDR", ""))
    for name, interface in variables.items():
        os.environ.setdefault(name, interface)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=_store_of(topology),
        rank=topology.rank,
        world_size=topology.world_size,
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )


def loopback_variables() -> dict[str, str]:
    """Return the environment variable with which gloo connects over the loopback interface; empty where there is none.

    Without it gloo looks up this host's name, which fails on laptops and in containers (pytorch#44946).
    """
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    return {"GLOO_SOCKET_IFNAME": loopback} if loopback else {}


def _variables_towards(host: str) -> dict[str, str]:
    """Return the environment variable with which gloo connects over the interface that leads to `host`; empty where there is none.

    Without it gloo takes the address of this host's name, which may be unknown, or 127.0.1.1.
    """
    with suppress(OSError):
        interface = interface_of(own_address_towards(str(socket.getaddrinfo(host, None)[0][4][0])))
        return {"GLOO_SOCKET_IFNAME": interface} if interface else {}
    return {}


def _who_is_silent(topology: Topology) -> str:
    """Say which rank the others wait for. The store may be at the other end of a cut link, where it never answers."""
    found: list[str] = []

    def ask() -> None:
        with suppress(RuntimeError):  # the store is gone
            found.append(_find_silent(topology))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(3.0 + STORE_ANSWERS)
    return found[0] if found else "neither another process nor rank 0's host answers: the link to it is cut, or that host is lost"


def _find_silent(topology: Topology) -> str:
    """Name the rank that the others wait for: all that time out record so now, and the oldest record is that rank's."""
    store, started = distributed_c10d._get_default_store(), time.time()
    keys = {rank: f"distalex/beat/{rank}" for rank in range(topology.world_size)}
    store.set(keys[topology.rank], str(started))
    time.sleep(3.0)
    heard = {rank: float(store.get(key)) for rank, key in keys.items() if store.check([key])}
    first = min(heard, key=lambda rank: heard[rank])
    if heard[first] > started - 3.0:
        return "another process of this job does not answer; see its own message"
    cut = "" if topology.on_one_node else ", or the link to its host is cut"
    return (
        f"rank {first} does not answer and was last alive {started - heard[first]:.0f} s ago: it is stopped, stuck or out of memory{cut}; "
        "if it is only slow, increase --train.timeout=SECONDS"
    )


def _agree(choose: Callable[[], str], topology: Topology) -> str:
    """Return rank 0's choice on every rank, or raise its UserError there."""
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
    """Return the device of this process and make it current. Raises UserError where there is no GPU for it."""
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
