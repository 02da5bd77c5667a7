"""What a network computes in and with: bf16 where the configuration asks for it and the device has the instructions, else fp32."""

from __future__ import annotations

import sys
from functools import lru_cache

import torch

from distalex.config import config


def arithmetic(options: config.Train, device: torch.device) -> torch.dtype:
    """The type of activations on `device`.

    Without instructions for it, PyTorch computes bf16 hundreds of times slower than fp32 on a CPU, and fp32 only rounds
    less: a run in bf16 goes on in fp32 there.
    """
    return torch.bfloat16 if options.precision == "bf16" and has_bf16(device) else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies matrices of bf16 about as fast as those of fp32, or faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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


def as_computed(configuration: config.Config, device: torch.device) -> config.Config:
    """`configuration` with the precision that it has on `device`."""
    precision = "bf16" if arithmetic(configuration.train, device) == torch.bfloat16 else "fp32"
    return configuration.model_copy(update={"train": configuration.train.model_copy(update={"precision": precision})})
