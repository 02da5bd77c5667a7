"""Which modes, with how many processes, a network can be divided for."""

from __future__ import annotations

from typing import NamedTuple

from distalex.config.choices import declared_in
from distalex.config.config import MODES, Config
from distalex.config.loading import load_config
from distalex.config.own_network import is_own
from distalex.errors import UserError
from distalex.model.own import build_own
from distalex.parallel.topology import layout

MOST = 64  # processes that are tried


class Network(NamedTuple):
    """What the modes ask of a network."""

    name: str
    columns: int
    cuts: bool
    """Whether One Weird Trick can cut it before its fully connected layers."""


def inspect_network(name: str, classes: int, image_size: int) -> Network:
    """Look at the paper's network, or at one's own. Raises UserError where there is no such network, or it cannot be built."""
    if name == "paper":
        return Network(name, 2, True)
    if not is_own(name):
        raise UserError(f"network={name}: must be paper, FILE.py:FUNCTION or torchvision:NAME")
    config: Config = load_config(None, {"model.name": name, "data.image_size": image_size})
    built = build_own(config.model, classes, image_size, 0)
    return Network(name, built.columns, built.cuts)


def possible_processes(mode: str, network: Network) -> list[int]:
    """Numbers of processes that a mode with several can divide the network among. Raises UserError where there are none."""
    if mode == "owt" and not network.cuts:
        raise UserError(f"modes={mode}: {network.name} has no methods convolve and classify; leave it out")
    possible = [count for count in range(declared_in(MODES)[mode].facts["LEAST"], MOST + 1) if _divides(mode, count, network.columns)]
    if not possible:
        raise UserError(f"modes={mode}: {network.name} has no columns; leave it out")
    return possible


def _divides(mode: str, processes: int, columns: int) -> bool:
    try:
        layout(mode, processes, columns)
    except UserError:
        return False
    return True
