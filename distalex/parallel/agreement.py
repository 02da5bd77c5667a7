"""All processes of a job need the same config, software and data; this is checked before the first step."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from distalex import __version__
from distalex.config.config import Config
from distalex.config.schema import flatten
from distalex.errors import UserError
from distalex.machine.precision import arithmetic

MAY_DIFFER_BY_HOST = ("data.root", "data.train", "data.test", "data.workers", "train.threads")
"""Options that may differ between hosts."""


def require_agreement(facts: Mapping[str, Any]) -> None:
    """Raise UserError on every rank unless `facts`, plain values by name, are the same on all; names the value, rank and host."""
    if not dist.is_initialized():
        return
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, (socket.gethostname(), dict(facts)))
    host, expected = everyone[0]
    for rank, (other_host, found) in enumerate(everyone):
        for name, value in expected.items():
            if found.get(name) != value:
                raise UserError(
                    f"rank {rank} on {other_host} has {name} {found.get(name)} and rank 0 on {host} has {value}; "
                    "all processes of a job need the same"
                )


def facts_of(config: Config, device: torch.device) -> dict[str, Any]:
    """Return what a run depends on besides its data, by name: config, software and arithmetic."""
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "distalex": f"{__version__} (code {_digest_of_the_code()})",
        "arithmetic": str(arithmetic(config.train.precision, device)),
        **{name: value for name, value in flatten(config.model_dump(mode="json")).items() if name not in MAY_DIFFER_BY_HOST},
    }


def _digest_of_the_code() -> str:
    digest, package = hashlib.blake2b(digest_size=6), Path(__file__).resolve().parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
