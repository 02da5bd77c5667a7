"""Processes and their mesh, before torch is imported: torchrun's variables, and what each parallel mode declares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from distalex.errors import UserError


@dataclass(frozen=True)
class Topology:
    """This process's place among all processes of the job; the defaults are those of one process."""

    rank: int = 0
    """Number of this process."""
    world_size: int = 1
    """Number of processes."""
    local_rank: int = 0
    """Number of this process among those of its host."""
    local_world_size: int = 1
    """Number of processes on this host."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Topology:
        """Read torchrun's variables; without any there is one process. Raises UserError where they are incomplete or no numbers."""
        variables = os.environ if environment is None else environment
        if "WORLD_SIZE" not in variables and "RANK" not in variables:
            return cls()
        values = []
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            text = variables.get(name, "")
            if not text.isdigit():
                raise UserError(
                    f"environment variable {name}={text!r}: must be a number; start with torchrun, or unset RANK and WORLD_SIZE"
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
        """Whether all processes are on this host."""
        return self.local_world_size == self.world_size


class Layout(NamedTuple):
    """The mesh (dp, mp)."""

    dp: int
    """Number of replicas."""
    mp: int
    """Number of processes that each replica's network is divided among."""


class Mode(Protocol):
    """What each file of `parallel/modes/` declares, besides its docstring, the first paragraph of which `--help` prints.

    The files import torch inside functions only. Constants are literals, which options and pictures read without an import.
    """

    LABEL: str
    """Name in pictures."""
    COLOUR: str
    """matplotlib's name of its colour in pictures."""
    HOLDS: str
    """What one process holds, for the report's drawing; may contain {column} and {columns}."""
    LEAST: int
    """Minimum number of processes; 1: single process only."""
    SPREADS_IMAGES: bool
    """Whether the processes of a replica convolve different images (One Weird Trick). Elsewhere each has all images of its replica."""
    SHARDS_PARAMETERS: bool
    """Whether replicas shard parameters, gradients and optimizer state, and gather the parameters of a layer while it computes (FSDP)."""

    def layout(self, world_size: int, columns: int, command: str) -> Layout:
        """Return the mesh for a network of `columns` columns.

        Raises UserError, with the numbers and a call of `command` that works, where there is none.
        """

    def divide(self, net: Any, mesh: Any) -> Any:
        """Keep this process's part of the whole `net`, a Network, on `mesh`, a Mesh, in place.

        Returns the module to call and the Shards, which say which rows of which parameters were kept.
        """


def mode_of(parallel: str) -> Mode:
    """Return the file of `parallel/modes/` that declares the mode `parallel`; not for `auto`."""
    return cast(Mode, import_module(f"distalex.parallel.modes.{parallel}"))


def layout(parallel: str, world_size: int, columns: int, command: str = "train") -> Layout:
    """Return the mesh of `world_size` processes for a network of `columns` columns in the mode `parallel`.

    Raises:
        UserError: the mode has none; gives the numbers and a call of `command` that works.
    """
    return mode_of(parallel).layout(world_size, columns, command)


def command_for(processes: int, parallel: str, command: str) -> str:
    """Return the shell command that starts `command` with so many processes in the mode `parallel`."""
    start = "python" if processes == 1 else f"torchrun --nproc_per_node={processes}"
    return f"{start} -m distalex.{command} --parallel={parallel}"


def divisors_of(columns: int, parallel: str, world_size: int, command: str) -> list[int]:
    """Return the numbers of processes, 2 and up, that a network's columns can be divided among.

    Raises UserError where the network has one column.
    """
    if columns == 1:
        raise UserError(
            f"parallel={parallel} needs a network of columns and this one has model.columns=1; "
            f"try: {command_for(world_size, 'data', command)}, or --model.name=paper"
        )
    return [count for count in range(2, columns + 1) if columns % count == 0]


def is_or_are(count: int) -> str:
    """Return `is 1`, `are 2` and so on."""
    return f"is {count}" if count == 1 else f"are {count}"
