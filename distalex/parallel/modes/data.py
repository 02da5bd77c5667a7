"""Data parallel (DDP): every process trains a replica of the network on its share of the batch, and gradients are all-reduced."""

from __future__ import annotations

from distalex.parallel.modes.none import divide as divide
from distalex.parallel.topology import Layout

LABEL = "data parallel (DDP)"
COLOUR = "tab:blue"
HOLDS = "the whole network"
LEAST = 2
SPREADS_IMAGES = False
SHARDS_PARAMETERS = False


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (N, 1) for N processes."""
    return Layout(world_size, 1)
