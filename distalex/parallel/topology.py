"""How many processes there are, which one this is, and what part of a batch falls to it. Free of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from distalex.errors import UserError


@dataclass(frozen=True)
class Topology:
    """This process's place among all: torchrun's variables, or one process where they are absent."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Topology:
        """Raises UserError where torchrun's variables are incomplete or not numbers."""
        variables = os.environ if environment is None else environment
        if "WORLD_SIZE" not in variables and "RANK" not in variables:
            return cls()
        values = []
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            text = variables.get(name, "")
            if not text.isdigit():
                raise UserError(
                    f"environment variable {name}={text!r}: torchrun sets a number; start with torchrun, or unset RANK and WORLD_SIZE"
                )
            values.append(int(text))
        topology = cls(*values)
        if topology.rank >= topology.world_size:
            raise UserError(
                f"environment variable RANK={topology.rank}: must be below WORLD_SIZE={topology.world_size}; start with torchrun"
            )
        return topology

    @property
    def on_one_node(self) -> bool:
        return self.local_world_size == self.world_size


class Layout(NamedTuple):
    """The mesh (dp, mp): replicas, and devices that the network of each is divided among."""

    dp: int
    mp: int


def layout(parallel: str, world_size: int, columns: int, command: str = "train") -> Layout:
    """The mesh that `parallel` makes of `world_size` processes for a network of `columns` columns.

    Raises UserError, with the numbers and the command that would work, where it makes none.
    """

    def works(processes: int, flag: str) -> str:
        start = "python" if processes == 1 else f"torchrun --nproc_per_node={processes}"
        return f"{start} -m distalex.{command} --parallel={flag}"

    if parallel == "none":
        if world_size != 1:
            raise UserError(f"parallel=none needs 1 process and torchrun started {world_size}; try: {works(world_size, 'data')}")
        return Layout(1, 1)
    if parallel == "data":
        return Layout(world_size, 1)
    if parallel == "owt":
        if world_size == 1:
            raise UserError(f"parallel=owt needs 2 processes or more and there is 1; try: {works(2, 'owt')}")
        return Layout(1, world_size)
    assert parallel in ("model", "hybrid")
    if columns == 1:
        raise UserError(
            f"parallel={parallel} needs a network of columns and this one has model.columns=1; "
            f"try: {works(world_size, 'data')}, or --model.name=paper"
        )
    divisors = [count for count in range(2, columns + 1) if columns % count == 0]
    if parallel == "model":
        if world_size not in divisors:
            counts = " or ".join(map(str, divisors))
            instead = f", or {works(world_size, 'hybrid')}" if world_size > 1 and world_size % divisors[0] == 0 else ""
            raise UserError(
                f"parallel=model needs {counts} processes, a divisor of model.columns={columns}, and there {_is_or_are(world_size)}; "
                f"try: {works(divisors[-1], 'model')}{instead}"
            )
        return Layout(1, world_size)
    mp = divisors[0]
    if world_size % mp:
        raise UserError(
            f"parallel=hybrid needs a multiple of {mp} processes, {mp} for each replica of model.columns={columns}, "
            f"and there {_is_or_are(world_size)}; try: {works(max(1, world_size // mp) * mp, 'hybrid')}"
        )
    return Layout(world_size // mp, mp)


def _is_or_are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}"
