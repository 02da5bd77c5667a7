"""Tries whether Triton compiles and starts a kernel here."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def set_one(out):
    tl.store(out, 1.0)


def works() -> bool:
    """Whether a kernel does its work on the current GPU. Raises whatever keeps it from being compiled."""
    out = torch.zeros(1, device="cuda")
    set_one[(1,)](out)
    return out.item() == 1.0
