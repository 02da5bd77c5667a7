"""Checkpoints without topology: the whole network's weights, optimizer state by parameter name, and the progress made.

A checkpoint is one file of tensors, numbers, strings, lists and dicts, which `torch.load(weights_only=True)` reads
without distalex. It is a zip archive whose CRC-32 of every record is checked before it is used.
"""

from __future__ import annotations

import errno
import io
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalex.errors import UserError
from distalex.files import replaced_atomically

FORMAT = 1
NEEDED = {"format", "model", "average", "progress", "config", "classes", "mean", "covariance", "side"}
"""Keys that every use of a checkpoint needs."""
IS_FOLDER = 0x10  # of a zip record's attributes, as MS-DOS has them


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state`, nested dicts of tensors and plain values, to `path`, whole or not at all. Raises OSError where the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as temporary, open(temporary, "wb") as file:  # of a path, torch would write the name into the file
        try:
            torch.save(state, file)
        except RuntimeError as error:  # how torch reports a full disk
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, or the file may not grow") from error


def load(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU. Raises UserError where the file is missing, damaged or not a checkpoint."""
    state = read_tensors(path)
    if not isinstance(state, dict) or not state.keys() >= NEEDED:
        raise UserError(f"{path}: not a distalex checkpoint; a run's are in RUN/checkpoints/")
    if state["format"] != FORMAT:
        raise UserError(f"{path}: checkpoint format {state['format']}, and this distalex reads {FORMAT}")
    return state


def read_tensors(path: Path) -> Any:
    """Load any file that torch.save wrote from tensors and plain values (`weights_only=True`), its CRC-32 checked. Raises UserError."""
    try:
        content = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                damaged = archive.testzip()
                emptied = [one.filename for one in archive.infolist() if one.external_attr & IS_FOLDER and not one.is_dir()]
            if damaged is not None:
                raise UserError(f"{path}: damaged, the checksum of its record {damaged} is wrong; use another checkpoint")
            if emptied:  # torch would read nothing and leave the memory of its tensor as it was
                raise UserError(f"{path}: damaged, its record {emptied[0]} is marked as a folder; use another checkpoint")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch, zipfile and pickle raise a dozen kinds for other files
        raise UserError(f"{path}: cannot be read as a file of weights: {_why_unreadable(path, error)}") from None


def _why_unreadable(path: Path, error: Exception) -> str:
    """Say in whole words why torch.load does not read a file, and the way out; torch's own texts are pages long."""
    size = path.stat().st_size if path.is_file() else 0
    if path.is_dir():
        return "it is a folder; name a file in it"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}; make it readable, or use another one"
    if not size:
        return "it is empty; use another checkpoint"
    if found := re.search(r"GLOBAL (\S+) was not an allowed global", str(error)):
        return f"it holds Python objects ({found[1]}), and only tensors and plain values are read; save the network's state_dict() alone"
    with open(path, "rb") as file:
        if file.read(4) == b"PK\3\4"[:size]:
            return f"it is damaged or ends early, after {size:,} bytes; use another checkpoint"
    return "torch.save did not write it, or it is damaged; name a checkpoint, a .pt or a .pth file"


def newest_first(folder: Path) -> list[Path]:
    """List the step checkpoints in a folder, the one of the latest step first."""
    return sorted((path for path in folder.glob("step-*.pt") if re.fullmatch(r"step-\d{8,}", path.stem)), key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint that `newest_first` lists."""
    return int(path.stem.removeprefix("step-"))


def step_in(path: Path) -> float:
    """The step that a checkpoint says it has, read without its tensors; infinite where it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["progress"]["step"]
    except Exception:  # torch, zipfile and pickle raise a dozen kinds for damaged files
        return math.inf


def load_newest(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Load the newest checkpoint that is whole and finite, or None; the others are reported with `say`."""
    for path in newest_first(folder):
        try:
            state = load(path)
        except UserError as error:
            say(f"skipping a checkpoint: {error}")
            continue
        if is_finite(state):
            return state
        say(f"skipping a checkpoint: {path}: its weights or its optimizer's state are not finite")
    return None


def is_finite(state: dict[str, Any]) -> bool:
    """Whether the weights, moving average and optimizer state of a checkpoint are finite."""
    return are_finite([*_tensors_in(state["model"]), *_tensors_in(state.get("average")), *_tensors_in(state.get("optimizer"))])


def _tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors of nested dicts."""
    for value in (values or {}).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors_in(value)


def are_finite(tensors: Iterable[Any]) -> bool:
    """Whether all numbers of the floating-point tensors among `tensors` are finite. Waits for the device.

    The largest magnitudes decide, which no sum overflows.
    """
    floating = [tensor.detach() for tensor in tensors if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel()]
    by_device: dict[torch.device, list[Tensor]] = {}
    for largest in torch._foreach_norm(floating, math.inf) if floating else ():
        by_device.setdefault(largest.device, []).append(largest.double())
    return all(bool(torch.isfinite(torch.stack(values)).all()) for values in by_device.values())


def find(place: str, runs_dir: str = "runs", best: bool = False) -> Path:
    """Find the checkpoint for a path or run name: a file, else the newest checkpoint of a run, or with `best` its best one.

    Raises UserError where there is none.
    """
    for path in (Path(place), Path(runs_dir) / place):
        if path.is_file():
            return path
        folder = path if path.name == "checkpoints" else path / "checkpoints"
        if folder.is_dir():
            best_first = [path for path in [folder / "best.pt"] if path.is_file()]
            found = best_first + newest_first(folder) if best else newest_first(folder) + best_first
            if found:
                return found[0]
            raise UserError(f"{folder}: holds no checkpoint yet; train first or name another run")
    raise UserError(f"{place}: no such run or checkpoint{known_runs(runs_dir)}")


def names_run(place: str, runs_dir: str) -> bool:
    """Return whether a word stands for a run or a checkpoint, whole or not, and so not for an image or a folder of images."""
    for path in (Path(place), Path(runs_dir) / place):
        if path.is_dir() and (path.name == "checkpoints" or (path / "checkpoints").is_dir()):
            return True
        if path.is_file() and (path.suffix in (".pt", ".stale") or _is_of_torch(path)):
            return True
    return False


def _is_of_torch(path: Path) -> bool:
    """Whether a file is an archive that torch.save wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def newest_run(runs_dir: str, saved: bool = True) -> str:
    """Return the folder of the run in `runs_dir` that trained last, of those with a checkpoint where `saved`. Raises UserError."""
    for run in reversed(_by_age(runs_dir)):
        if not saved or any((run / "checkpoints").glob("*.pt")):
            return str(run)
    kind = "run with a checkpoint" if saved else "run"
    raise UserError(f"RUN is missing: {runs_dir}/ holds no {kind}; train first, or name the folder of the runs with --runs_dir=DIR")


def known_runs(runs_dir: str) -> str:
    """The end of a message about a run that is missing: the newest three runs in `runs_dir`."""
    runs = _by_age(runs_dir)
    return f"; the newest in {runs_dir}/ are {', '.join(run.name for run in runs[-3:])}" if runs else f"; {runs_dir}/ has none"


def _by_age(runs_dir: str) -> list[Path]:
    """The runs in a folder, the one that wrote checkpoints last at the end."""
    folders = [path for path in Path(runs_dir).glob("*/checkpoints") if path.is_dir()]
    return [path.parent for path in sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path))]
