"""A description of this computer for run directories and results: processor, cores, GPU and versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from distalex.machine.resources import cores


def processor() -> str:
    """The name, family and model of the processor."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in information.read_text().splitlines())
    values = {key.strip(): value.strip() for key, _, value in lines}
    numbers = ", ".join(f"{short} {values[key]}" for short, key in (("family", "cpu family"), ("model", "model")) if key in values)
    return f"{values.get('model name', platform.machine())}{f' ({numbers})' if numbers else ''}"


def computes_on(device: torch.device) -> str:
    """The name of the GPU, or of the processor where `device` is a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def describe_machine() -> dict[str, Any]:
    """Processor, cores, GPU if there is one, and versions of Python and libraries; None for a library that is not installed."""
    versions = {name: _version(name) for name in ("torch", "torchvision", "ffcv", "numpy", "numba", "triton")}
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"processor": processor(), "cores": cores(), **gpu, "python": platform.python_version(), "versions": versions}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
