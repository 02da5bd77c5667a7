"""Which rows of a parameter each process of a column group holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from distalex.parallel.mesh import Mesh
from distalex.shares import all_shares, share


@dataclass(frozen=True)
class Shards:
    """Which parameters are divided, on dim 0, among the processes of a column group; every process holds the others whole."""

    mesh: Mesh
    """The processes."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows (dim 0) of each whole parameter that is divided, by name."""

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this process's rows of a parameter, or of a tensor of its shape."""
        return whole[share(self.rows[name], self.mesh.column, self.mesh.columns)] if name in self.rows else whole

    def whole(self, name: str, part: Tensor) -> Tensor | None:
        """Gather a parameter from its shards, on the CPU of rank 0; return None elsewhere. All processes of the first replica call it."""
        mesh = self.mesh
        if name not in self.rows or mesh.columns == 1:
            return part.cpu() if mesh.is_first else None
        if mesh.replica:
            return None
        assert mesh.devices is not None
        places = all_shares(self.rows[name], mesh.columns)
        inside = math.prod(part.shape[1:])
        counts = [inside * (rows.stop - rows.start) if mesh.is_first and column else 0 for column, rows in enumerate(places)]
        sending = part.reshape(-1) if mesh.column else part.new_empty(0)
        sizes = [sending.numel(), *[0] * (mesh.columns - 1)]
        received = part.new_empty(sum(counts))
        # Not send and recv: with gloo they ignore the time-out that is set after the first step.
        dist.all_to_all_single(received, sending, counts, sizes, group=mesh.devices.get_group("mp"))
        if not mesh.is_first:
            return None
        joined = torch.empty((self.rows[name], *part.shape[1:]), dtype=part.dtype)
        joined[places[0]] = part.cpu()
        joined[places[0].stop :].view(-1).copy_(received)
        return joined

    def norms(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the Euclidean norm of each whole tensor, (tensors,), from this process's shards by parameter name."""
        norms = torch.stack(torch._foreach_norm(list(tensors.values())))
        if self.mesh.columns == 1:
            return norms
        divided = torch.tensor([name in self.rows for name in tensors]).to(norms.device, non_blocking=True)
        squares = self.mesh.sum_over_columns(torch.where(divided, norms.square(), 0.0))
        return torch.where(divided, squares.sqrt(), norms)
