"""Data parallel (DDP): every process trains a replica of the network on its share of the batch, and gradients are all-reduced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalex.parallel.topology import Layout

if TYPE_CHECKING:
    from torch import nn

    from distalex.model.network import Network
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.shards import Shards

LABEL = "data parallel (DDP)"
COLOUR = "tab:blue"
HOLDS = "the whole network"
LEAST = 2
SPREADS_IMAGES = False


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (N, 1) for N processes."""
    return Layout(world_size, 1)


def divide(net: Network, mesh: Mesh) -> tuple[nn.Module, Shards]:
    """Leave the network whole."""
    from distalex.parallel.shards import Shards

    return net, Shards(mesh)
