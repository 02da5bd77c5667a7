"""Which rows of a parameter each process holds, where several divide it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distalex.parallel.mesh import Mesh
from distalex.shares import all_shares


@dataclass(frozen=True)
class Shards:
    """Which parameters are divided, on dim 0, among the processes of a column group; every process holds the others whole."""

    mesh: Mesh
    """The processes."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows (dim 0) of each whole parameter that is divided, by name."""

    axis: ClassVar[str] = "mp"
    """Axis of the mesh whose processes divide the parameters."""

    def places(self, name: str) -> list[slice]:
        """Return the rows of a divided parameter that each process has."""
        return all_shares(self.rows[name], self.mesh.columns)

    @property
    def number(self) -> int:
        """This process's number among those that divide the parameters."""
        return self.mesh.column

    def parameters(self, net: nn.Module) -> Mapping[str, nn.Parameter]:
        """Return the parameters to optimise by name: this process's rows of each."""
        return dict(net.named_parameters())

    def tensors(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the state dict of `net`, of each parameter this process's rows."""
        return net.state_dict()

    def load(self, net: nn.Module, whole: Mapping[str, Tensor]) -> None:
        """Take over this process's rows of a whole state dict. Raises RuntimeError where it is another network's."""
        net.load_state_dict({name: self.part(name, value) for name, value in whole.items()})

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this process's rows of a parameter, or of a tensor of its shape."""
        return whole[self.places(name)[self.number]] if name in self.rows else whole

    def whole(self, name: str, part: Tensor) -> Tensor | None:
        """Gather a parameter from its shards, on the CPU of rank 0; return None elsewhere. Every process calls it."""
        mesh = self.mesh
        if mesh.devices is None or name not in self.rows or len(self.places(name)) == 1:
            return part.cpu() if mesh.is_first else None
        if mesh.replica and self.axis == "mp":
            return None
        places = self.places(name)
        inside = math.prod(part.shape[1:])
        counts = [inside * (rows.stop - rows.start) if mesh.is_first and number else 0 for number, rows in enumerate(places)]
        sending = part.reshape(-1) if self.number else part.new_empty(0)
        sizes = [sending.numel(), *[0] * (len(places) - 1)]
        received = part.new_empty(sum(counts))
        # Not send and recv: with gloo they ignore the time-out that is set after the first step.
        dist.all_to_all_single(received, sending, counts, sizes, group=mesh.devices.get_group(self.axis))
        if not mesh.is_first:
            return None
        joined = torch.empty((self.rows[name], *part.shape[1:]), dtype=part.dtype)
        joined[places[0]] = part.cpu()
        joined[places[0].stop :].view(-1).copy_(received)
        return joined

    def norms(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the Euclidean norm of each whole tensor, (tensors,), from this process's shards by parameter name."""
        norms = torch.stack(torch._foreach_norm(list(tensors.values())))
        if not self.rows or self.mesh.alone:
            return norms
        divided = torch.tensor([name in self.rows for name in tensors]).to(norms.device, non_blocking=True)
        squares = torch.where(divided, norms.square(), 0.0)
        squares = self.mesh.sum_over_columns(squares) if self.axis == "mp" else self.mesh.sum(squares)
        return torch.where(divided, squares.sqrt(), norms)
