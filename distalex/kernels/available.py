"""Which of the compiled kernels this process can use."""

from __future__ import annotations

import sys
from functools import cache

import torch

from distalex.errors import brief


def has_triton(device: torch.device) -> bool:
    """Whether kernels compiled by Triton run on `device`."""
    return device.type == "cuda" and _triton_compiles()


@cache
def _triton_compiles() -> bool:
    """Whether Triton, which comes with PyTorch on Linux, compiles kernels for this process's GPU; prints once why it does not.

    It needs a C compiler, Python's headers, a folder for its cache, and a GPU of 2017 or later.
    """
    try:
        from distalex.kernels.probe import works

        if works():
            return True
        reason = "a compiled kernel had no effect"
    except Exception as error:  # raised by Triton, the C compiler or the driver
        reason = brief(error)
    print(f"distalex: Triton cannot compile kernels here ({reason}); PyTorch's slower ones are used", file=sys.stderr, flush=True)
    return False


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works on `device`; prints once why it does not. On a CPU it needs a C++ compiler."""
    return _torch_compiles(device.type)


@cache
def _torch_compiles(device: str) -> bool:
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
        return True
    except Exception as error:  # raised by torch.compile's parts, the C++ compiler or the disk
        reason = brief(getattr(error, "inner_exception", error))
    needed = "a C++ compiler (Debian: apt-get install g++)" if device == "cpu" else "a C compiler (Debian: apt-get install gcc)"
    print(f"distalex: torch.compile does not work here ({reason}) and is left out; it needs {needed}", file=sys.stderr, flush=True)
    return False


def is_traced() -> bool:
    """Whether torch.compile or torch.export is tracing, which cannot record these kernels."""
    return torch.compiler.is_compiling()
