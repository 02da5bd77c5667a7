"""Which compiled kernels this process can use."""

from __future__ import annotations

import sys
from functools import lru_cache

import torch


def has_triton(device: torch.device) -> bool:
    """Whether kernels compiled by Triton run on `device`."""
    return device.type == "cuda" and _triton_compiles()


@lru_cache(maxsize=1)
def _triton_compiles() -> bool:
    """Whether Triton, which PyTorch brings along on Linux, compiles kernels for this process's GPU; says once why not.

    It needs a C compiler, Python's headers, a folder to keep what it compiled, and a GPU of 2017 or later.
    """
    try:
        from distalex.kernels.probe import works

        if works():
            return True
        reason = "a kernel that it compiled did nothing"
    except Exception as error:  # of Triton, of a compiler, of the driver
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    print(f"distalex: Triton compiles no kernels here ({reason}); PyTorch's own are used, which are slower", file=sys.stderr, flush=True)
    return False


def is_traced() -> bool:
    """Whether torch.compile, torch.export or TorchScript is recording what is computed, and so can take none of those kernels."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
