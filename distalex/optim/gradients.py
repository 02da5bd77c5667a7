"""Norms of whole tensors where processes hold shards of them, and gradient clipping by norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distalex.parallel.shards import Shards

Norms = Callable[[list[Tensor], list[Tensor]], Tensor]
"""Returns the Euclidean norms, (n,), of n tensors (such as gradients), given the parameters that they belong to."""


def norms_of(net: nn.Module, shards: Shards) -> Norms:
    """Return a function that computes norms of whole parameters or gradients of `net`, also where `shards` divides them."""
    names = {parameter: name for name, parameter in shards.parameters(net).items()}

    def norms(parameters: list[Tensor], tensors: list[Tensor]) -> Tensor:
        return shards.norms({names[parameter]: tensor for parameter, tensor in zip(parameters, tensors, strict=True)})  # type: ignore[index]

    return norms


def clip_gradients(net: nn.Module, largest: float, shards: Shards) -> None:
    """Scale the gradients of `net` so that the norm of the whole network's gradient is at most `largest`.

    Where that norm overflows, gradients become NaN, which is noticed, and not 0, which is not. `shards` says which parameters are divided
    among processes. Does not wait for a GPU.
    """
    gradients = {name: parameter.grad for name, parameter in shards.parameters(net).items() if parameter.grad is not None}
    norm = torch.linalg.vector_norm(shards.norms(gradients))
    scale = torch.where(norm.isfinite(), (largest / (norm + 1e-6)).clamp(max=1.0), torch.nan)
    torch._foreach_mul_(list(gradients.values()), scale)
