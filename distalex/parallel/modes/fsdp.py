"""Fully sharded data parallel (FSDP): as `data`, but every process keeps a shard of the parameters, gradients and optimizer state."""

from __future__ import annotations

from distalex.errors import UserError
from distalex.parallel.modes.none import divide as divide
from distalex.parallel.topology import Layout, command_for

LABEL = "fully sharded (FSDP)"
COLOUR = "tab:purple"
HOLDS = "a shard of each layer"
LEAST = 2
SPREADS_IMAGES = False
SHARDS_PARAMETERS = True


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (N, 1) for N processes. Raises UserError for one process."""
    if world_size == 1:
        raise UserError(f"parallel=fsdp needs 2 processes or more and there is 1; try: {command_for(2, 'fsdp', command)}")
    return Layout(world_size, 1)
