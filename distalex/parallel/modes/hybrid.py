"""Replicas of columns: data parallel over replicas, each of which divides its columns among processes."""

from __future__ import annotations

from distalex.errors import UserError
from distalex.parallel.modes.model import divide as divide
from distalex.parallel.topology import Layout, command_for, divisors_of, is_or_are

LABEL = "replicas of two columns"
COLOUR = "tab:green"
HOLDS = "column {column} of {columns}"
LEAST = 4
SPREADS_IMAGES = False
SHARDS_PARAMETERS = False


def layout(world_size: int, columns: int, command: str) -> Layout:
    """Return the mesh (N / mp, mp), mp the least divisor of `columns` above 1. Raises UserError where mp does not divide N."""
    mp = divisors_of(columns, "hybrid", world_size, command)[0]
    if world_size % mp:
        raise UserError(
            f"parallel=hybrid needs a multiple of {mp} processes, {mp} for each replica of model.columns={columns}, "
            f"and there {is_or_are(world_size)}; try: {command_for(max(1, world_size // mp) * mp, 'hybrid', command)}"
        )
    return Layout(world_size // mp, mp)
