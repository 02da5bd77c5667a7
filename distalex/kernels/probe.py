"""A trial kernel: whether Triton compiles and runs one on this GPU."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def set_one(out):
    """Set the first number of `out` to 1."""
    tl.store(out, 1.0)


def works() -> bool:
    """Whether a compiled kernel writes its result on the current GPU. Raises what Triton, the C compiler or the driver raises."""
    out = torch.zeros(1, device="cuda")
    set_one[(1,)](out)
    return out.item() == 1.0
