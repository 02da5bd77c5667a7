"""What a run or a benchmark runs on: processor, cores, GPU and versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from distalex.machine.resources import cores


def processor() -> str:
    """The processor's name, family and model."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in information.read_text().splitlines())
    values = {key.strip(): value.strip() for key, _, value in lines}
    numbers = ", ".join(f"{short} {values[key]}" for short, key in (("family", "cpu family"), ("model", "model")) if key in values)
    return f"{values.get('model name', platform.machine())}{f' ({numbers})' if numbers else ''}"


def computes_on(device: torch.device) -> str:
    """The processor's name, or that of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def describe_machine() -> dict[str, Any]:
    """Processor, cores, GPU if there is one, and versions."""
    versions = {name: _version(name) for name in ("torch", "torchvision", "ffcv", "numpy", "numba", "triton")}
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"processor": processor(), "cores": cores(), **gpu, "python": platform.python_version(), "versions": versions}


def _version(name: str) -> str | None:
    """None where the package is not installed, as FFCV need not be."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
