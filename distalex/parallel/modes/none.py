"""One process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalex.errors import UserError
from distalex.parallel.topology import Layout, command_for

if TYPE_CHECKING:
    from torch import nn

    from distalex.model.network import Network
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.shards import Shards

LABEL = "one process"
COLOUR = "black"
HOLDS = "the whole network"
LEAST = 1
SPREADS_IMAGES = False
SHARDS_PARAMETERS = False


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (1, 1). Raises UserError for several processes."""
    if world_size != 1:
        raise UserError(f"parallel=none needs 1 process and {world_size} were started; try: {command_for(world_size, 'data', command)}")
    return Layout(1, 1)


def divide(net: Network, mesh: Mesh) -> tuple[nn.Module, Shards]:
    """Leave the network whole."""
    from distalex.parallel.shards import Shards

    return net, Shards(mesh)
