"""The precision of activations: bf16 where the config names it and the device has instructions for it, else fp32."""

from __future__ import annotations

import torch


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of activations on `device` under `train.precision` = `precision`.

    A run in bf16 uses fp32 on a CPU without bf16 instructions, where PyTorch computes bf16 hundreds of times slower than fp32.
    """
    return torch.bfloat16 if precision == "bf16" and has_bf16(device) else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bf16, and so multiplies its matrices at least about as fast as those of fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
