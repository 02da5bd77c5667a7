"""Model parallel: the processes divide the columns of one network among them (Section 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalex.errors import UserError
from distalex.parallel.topology import Layout, command_for, divisors_of, is_or_are

if TYPE_CHECKING:
    from torch import nn

    from distalex.model.network import Network
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.shards import Shards

LABEL = "two columns"
COLOUR = "tab:red"
HOLDS = "column {column} of {columns}"
LEAST = 2
SPREADS_IMAGES = False
SHARDS_PARAMETERS = False


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (1, N) for N processes. Raises UserError where N is no divisor of `columns` above 1."""
    divisors = divisors_of(columns, "model", world_size, command)
    if world_size not in divisors:
        counts = " or ".join(map(str, divisors))
        hybrid = world_size > 1 and world_size % divisors[0] == 0
        instead = f", or {command_for(world_size, 'hybrid', command)}" if hybrid else ""
        raise UserError(
            f"parallel=model needs {counts} processes, a divisor of model.columns={columns}, and there {is_or_are(world_size)}; "
            f"try: {command_for(divisors[-1], 'model', command)}{instead}"
        )
    return Layout(1, world_size)


def divide(net: Network, mesh: Mesh) -> tuple[nn.Module, Shards]:
    """Keep this process's columns of every layer. Raises UserError where a layer has fewer outputs than a replica has processes."""
    from distalex.parallel.columns import require_same_logits, split_into_columns

    if net.is_given:
        return net, require_same_logits(net, mesh)
    return net, split_into_columns(net, mesh)
