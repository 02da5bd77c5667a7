"""How many processes there are, which one this is, and what part of a batch falls to it. Free of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

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

    def check_fits(self, parallel: str) -> None:
        """Raise UserError, with the command that would work, unless `parallel` can use this many processes."""
        if parallel == "none" and self.world_size != 1:
            raise UserError(
                f"parallel=none needs 1 process and torchrun started {self.world_size}; "
                f"try: torchrun --nproc_per_node={self.local_world_size} -m distalex.train --parallel=data"
            )


def cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(count: int, part: int, parts: int) -> slice:
    """The `part`-th of `parts` consecutive shares of `count` things; shares differ by one at most."""
    return slice(count * part // parts, count * (part + 1) // parts)
