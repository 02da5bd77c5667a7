"""One Weird Trick (Krizhevsky 2014): data parallel convolutions, and fully connected layers divided among all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalex.errors import UserError
from distalex.parallel.topology import Layout, command_for

if TYPE_CHECKING:
    from torch import nn

    from distalex.model.network import Network
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.shards import Shards

LABEL = "One Weird Trick"
COLOUR = "tab:orange"
HOLDS = "convolutions, and a shard of the fully connected layers"
LEAST = 2
SPREADS_IMAGES = True
SHARDS_PARAMETERS = False
DIVIDES_HIDDEN_LAYERS = True


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (1, N) for N processes. Raises UserError for one process."""
    if world_size == 1:
        raise UserError(f"parallel=owt needs 2 processes or more and there is 1; try: {command_for(2, 'owt', command)}")
    return Layout(1, world_size)


def divide(net: Network, mesh: Mesh) -> tuple[nn.Module, Shards]:
    """Keep this process's rows of the fully connected layers. Raises UserError where one has fewer outputs than there are processes."""
    from distalex.parallel.owt import OneWeirdTrick

    divided = OneWeirdTrick(net, mesh)
    return divided, divided.shards
