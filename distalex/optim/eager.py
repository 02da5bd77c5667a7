"""PyTorch's optimizers without an import of its compiler."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch


@cache
def eager(kind: type[torch.optim.Optimizer]) -> Any:
    """Return PyTorch's optimizer class `kind` with methods that never import torch.compile's machinery.

    The originals are wrapped in `torch._disable_dynamo`, and the first call of each imports the compiler only to switch it off:
    two seconds at the start of every run.
    """
    step = inspect.unwrap(kind.step)

    def plain_step(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    for method in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        inner = inspect.unwrap(getattr(torch.optim.Optimizer, method))
        inner.__dict__.setdefault("__dynamo_disable", inner)  # where torch._compile looks first
    return type(kind.__name__, (kind,), {"step": plain_step})
