"""Measurement of this machine, about a minute in processes of its own, with a cached result."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distalex import __version__
from distalex.config.config import Config
from distalex.errors import UserError
from distalex.files import write_atomically
from distalex.machine.description import computes_on
from distalex.machine.precision import arithmetic
from distalex.machine.resources import cores
from distalex.parallel.start import loopback_variables
from distalex.plan.cost import classes_or_assumed, rank
from distalex.plan.layers import layers_of
from distalex.plan.machine import Link, Machine, Timing


def as_computed(config: Config, device: torch.device) -> Config:
    """Return `config` with the precision that `device` computes it in: fp32 where it has no bf16."""
    precision = "bf16" if arithmetic(config.train.precision, device) == torch.bfloat16 else "fp32"
    return config.model_copy(update={"train": config.train.model_copy(update={"precision": precision})})


Start = Callable[[int, list[str]], "subprocess.Popen[str]"]
"""Starts Python with arguments as the measuring process of this number, its output and errors in pipes."""
BETWEEN_NODES = Link(1e-4, 1.25e9)  # cannot be measured on one host: 10 Gb/s Ethernet is assumed
SECONDS = 180.0
LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "TORCH_NCCL", "OMP_NUM_THREADS")


def choose(config: Config, world_size: int, local_world_size: int, device: torch.device | str = "cpu") -> str:
    """Return the parallel mode that is predicted to be the fastest for `config` on this machine.

    Measures the machine, in processes of its own, unless the result is cached. Call it in one process while the others wait.

    Raises:
        UserError: the machine cannot be measured.
    """
    if world_size == 1:
        return "none"
    kind = torch.device(device).type
    config = as_computed(config, torch.device(device))
    machine = this_machine(config, classes_or_assumed(config.data), local_world_size, kind)
    return choose_on(machine, config, world_size)


def choose_on(machine: Machine, config: Config, world_size: int) -> str:
    """Return the mode that is predicted to be the fastest on `machine` with the config's batch size."""
    batch = max(config.train.batch_size, world_size)
    predictions = rank(config, classes_or_assumed(config.data), machine, world_size, (batch,))
    return predictions[0].parallel


def this_machine(config: Config, classes: int, processes: int, device: str, remeasure: bool = False) -> Machine:
    """Return this machine as `processes` processes share it to train `config`: from the cache, or measured now."""
    key = _key(config, classes, processes, device)
    path = _cache() / f"machine-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
    found = None if remeasure else _remembered(path, key)
    if found is None:
        found = measure(config, classes, processes, device)
        _remember(path, key, found)
    return machine_from(found, f"this ({processes} {device} process{'es' * (processes > 1)})", config, processes, device)


def machine_from(found: dict[str, Any], name: str, config: Config, processes: int, device: str) -> Machine:
    """Return the machine, called `name`, that was `found` by `measure` of so many processes that train `config`."""
    return Machine(
        name=name,
        flops=0.0,
        efficiency=1.0,
        memory_bandwidth=found["memory_bandwidth"],
        memory=_memory(processes, device),
        gather=Link(*found.get("gather", (0.0, 1e12))),
        reduce=Link(*found.get("reduce", (0.0, 1e12))),
        scatter=Link(*found["scatter"]) if "scatter" in found else None,
        between=BETWEEN_NODES,
        devices_per_node=processes,
        overlap=found.get("overlap", 0.0),
        timings={name: Timing(*values) for name, values in found["timings"].items()},
        computes_in_bf16=config.train.precision == "bf16",
    )


def _key(config: Config, classes: int, processes: int, device: str) -> dict[str, Any]:
    """Return what a measurement depends on."""
    network = config.model.model_dump(mode="json", exclude={"weights", "freeze", "init"})
    return {
        "distalex": __version__,
        "processor": computes_on(torch.device(device)),
        "cores": cores(),
        "torch": torch.__version__,
        "precision": config.train.precision,
        "network": network,
        "image_size": config.data.image_size,
        "classes": classes,
        "processes": processes,
        "threads": _threads(config, processes),
        "device": device,
    }


def _threads(config: Config, processes: int) -> int:
    return config.train.threads or max(1, cores() // processes)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distalex"


def _remembered(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return saved["found"] if saved["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no file, or one of another version


def _remember(path: Path, key: dict[str, Any], found: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"key": key, "found": found}, indent=1).encode())
    except OSError:
        pass  # the next call measures again


def _memory(processes: int, device: str) -> float:
    if device == "cuda":
        return float(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / processes


def measure(config: Config, classes: int, processes: int, device: str, start: Start | None = None) -> dict[str, Any]:
    """Start the measuring processes, here or as `start` does, and return what the first one prints. Raises UserError where one fails."""
    columns = config.model.columns
    parts = sorted({1, *(count for count in (2, columns, processes) if count > 1 and processes > 1)})
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    task = {
        "config": config.model_dump(mode="json"),
        "classes": classes,
        "processes": processes,
        "threads": _threads(config, processes),
        "parts": parts,
        "macs": sum(layer.macs for layer in layers),
        "device": device,
    }
    with tempfile.TemporaryDirectory() as folder:
        tasks = [json.dumps({**task, "rank": number, "store": f"{folder}/store"}) for number in range(processes)]
        return _collect([(start or _start_here)(number, ["-m", "distalex.plan.worker", one]) for number, one in enumerate(tasks)])


def _start_here(_: int, arguments: list[str]) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)} | loopback_variables()
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *arguments], stdout=pipe, stderr=pipe, text=True, env=environment)


def _collect(started: list[subprocess.Popen[str]]) -> dict[str, Any]:
    """Return what the first process printed, and end them all. Raises UserError with the last line of a process that failed."""
    try:
        outputs = [process.communicate(timeout=SECONDS) for process in started]
    except subprocess.TimeoutExpired:
        raise UserError(f"measuring this machine took over {SECONDS:.0f} s; name a mode, e.g. --parallel=data, or --machine=a100") from None
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, outputs, strict=True):
        if process.returncode:
            words = (errors.strip().splitlines() or [f"status {process.returncode}"])[-1]
            raise UserError(f"measuring this machine failed ({words}); name a mode, e.g. --parallel=data, or --machine=a100")
    return json.loads(outputs[0][0].strip().splitlines()[-1])
