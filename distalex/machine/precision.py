"""What a network computes in and with: bf16 where the configuration asks for it and the device has the instructions, else fp32."""

from __future__ import annotations

import torch


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """The type of activations on `device`.

    Without instructions for it, PyTorch computes bf16 hundreds of times slower than fp32 on a CPU, and fp32 only rounds
    less: a run in bf16 goes on in fp32 there.
    """
    return torch.bfloat16 if precision == "bf16" and has_bf16(device) else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies matrices of bf16 about as fast as those of fp32, or faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
