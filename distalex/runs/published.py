"""torchvision's own file of AlexNet's weights, trained on ImageNet: found on this host, or downloaded."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from distalex.config.loading import TORCHVISION
from distalex.data.places import data_folder
from distalex.errors import UserError, brief
from distalex.files import locked
from distalex.parallel.mesh import Mesh
from distalex.runs.weights_file import read_weights_file

ANSWERS = 20.0
"""Seconds without an answer after which a download has failed."""


def weights_place(weights: str | None, mesh: Mesh, say: Callable[[str], None]) -> str | None:
    """Return the place of `model.weights`: as it stands, or the path of the file that `torchvision` means.

    The first process of each host looks for that file and downloads it where it is missing; the others wait. Raises UserError, on
    every rank, where a host cannot get it or has another file in its place.
    """
    if weights != TORCHVISION:
        return weights
    path, problem = "", ""
    if mesh.topology.local_rank == 0:
        try:
            path = str(find_or_fetch(say))
        except UserError as error:
            problem = str(error)
    if mesh.any(bool(problem)):
        raise UserError(problem or f"model.weights={weights}: another process could not get the file")
    return path or str(_found()[0])


def find_or_fetch(say: Callable[[str], None]) -> Path:
    """Return torchvision's file, from the first of `places` that has it, else downloaded into the first. Raises UserError.

    A file whose checksum is not torchvision's is reported and taken, if it holds weights.
    """
    if not _found():
        _fetch(say)
    path = _found()[0]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(_checksum(path.name)):
        read_weights_file(path)
        say(f"{path}: its checksum is not that of torchvision's file; it is taken as it is")
    return path


def places() -> list[Path]:
    """Return the folders where the file is looked for: PyTorch's cache, DISTALEX_DATA, data/."""
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    own = Path(os.path.expanduser("~")) / ".cache" / "torch" / "hub" / "checkpoints"  # also where it cannot be written
    return list(dict.fromkeys([cache, own, data_folder(), Path("data")]))


def _found() -> list[Path]:
    return [path for folder in places() if (path := folder / _name()).is_file()]


def describe_file() -> str:
    """Return where the file lies, or that it would be downloaded, and from where."""
    if found := _found():
        return str(found[0])
    folders, published = ", ".join(os.path.abspath(folder) for folder in places()), _published()
    size = f"{published.meta['_file_size']:.0f} MB"
    return f"in none of {folders}; training downloads {published.url} ({size}), where the network allows"


def _fetch(say: Callable[[str], None]) -> None:
    """Download the file, with its checksum tested, into the first of `places`."""
    published, path = _published(), places()[0] / _name()
    size, before = f"{published.meta['_file_size']:.0f} MB", socket.getdefaulttimeout()
    say(f"downloading torchvision's AlexNet ({size}) from {published.url} to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), lambda: say(f"waiting for another process that downloads {path.name}")):
            socket.setdefaulttimeout(ANSWERS)
            if not path.is_file():
                torch.hub.download_url_to_file(published.url, str(path), _checksum(path.name), progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # no network, another file at the address
        folders = ", ".join(os.path.abspath(folder) for folder in places())
        raise UserError(
            f"model.weights={TORCHVISION}: {path.name} ({size}) is in none of {folders} and cannot be downloaded ({brief(error)}); fetch "
            f"{published.url} elsewhere and put it into {path.parent}, or take other weights (--model.weights=RUN) or none"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _published():  # type: ignore[no-untyped-def]  # an enum of torchvision
    from torchvision.models import AlexNet_Weights

    return AlexNet_Weights.IMAGENET1K_V1


def _name() -> str:
    return _published().url.rpartition("/")[2]


def _checksum(name: str) -> str:
    """The beginning of the SHA-256 that PyTorch puts into the name of a file."""
    return Path(name).stem.rpartition("-")[2]
