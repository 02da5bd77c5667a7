"""Checkpoints without topology: the whole network's weights, optimizer state by parameter name, and the progress made.

A checkpoint is one file of tensors, numbers, strings, lists and dicts, which `torch.load(weights_only=True)` reads
without distalex. It is a zip archive whose CRC-32 of every record is checked before it is used.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distalex.config import config
from distalex.errors import UserError
from distalex.model.alexnet import AlexNet, from_torchvision
from distalex.model.released import from_released, is_released
from distalex.optim.optimizer import MovingAverage, Schedule
from distalex.parallel.start import Shards

FORMAT = 1


@dataclass
class TrainState:
    """All that changes while a run trains; saved and restored whole."""

    net: AlexNet
    """The network itself, not wrapped; its parameters are this process's rows of them, as `shards` says."""
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    shards: Shards
    average: MovingAverage | None = None
    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """The epoch that the next step belongs to."""
    step_in_epoch: int = 0
    best_top1: float = -1.0
    left_out: set[int] = field(default_factory=set)
    """Steps whose loss was not finite and that change nothing."""
    described: dict[str, Any] = field(default_factory=dict)
    """What the weights need besides: configuration, classes, colour statistics, side of the stored pictures."""

    def state_dict(self) -> dict[str, Any]:
        """The whole network's state on rank 0, joined from all columns; something incomplete elsewhere.

        Every process has to call it.
        """
        return {
            "format": FORMAT,
            "model": self._whole({name: value.detach() for name, value in self.net.state_dict().items()}),
            "optimizer": self._optimizer_state(),
            "schedule": self.schedule.state_dict(),
            "average": self._whole(self.average.weights) if self.average else {},
            "progress": {
                "step": self.step,
                "epoch": self.epoch,
                "step_in_epoch": self.step_in_epoch,
                "best_top1": self.best_top1,
            },
            **self.described,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over this process's part. Raises KeyError or RuntimeError where `state` belongs to another network or optimizer."""
        self.net.load_state_dict(self._parts(state["model"]))
        named = dict(self.net.named_parameters())
        self.optimizer.state.clear()
        for name, values in state["optimizer"].items():
            parameter = named[name]
            whole = state["model"][name].shape
            self.optimizer.state[parameter] = {
                key: self._state_on_device(self.shards.part(name, value) if value.shape == whole else value, key, parameter)
                for key, value in values.items()
            }
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            for name, value in self._parts(state["average"] or state["model"]).items():
                self.average.weights[name].copy_(value)
        for name, value in state["progress"].items():
            setattr(self, name, value)

    @staticmethod
    def _state_on_device(value: Tensor, key: str, parameter: Tensor) -> Tensor:
        """A copy laid out as the parameter is; Adam keeps its count of steps on the CPU with CPU parameters only."""
        if value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return value.to(parameter.device, copy=True) if key != "step" or parameter.device.type == "cuda" else value.clone()

    def _parts(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.shards.part(name, value) for name, value in tensors.items()}

    def _whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor | None]:
        return {name: self.shards.whole(name, value) for name, value in tensors.items()}

    def _optimizer_state(self) -> dict[str, dict[str, Tensor | None]]:
        state = {}
        for name, parameter in self.net.named_parameters():
            if parameter in self.optimizer.state:
                state[name] = {
                    key: self.shards.whole(name, value) if value.shape == parameter.shape else value.cpu()
                    for key, value in self.optimizer.state[parameter].items()
                    if value is not None
                }
        return state


class Writer:
    """Writes checkpoints in a thread of its own, one at a time, so that training goes on meanwhile."""

    def __init__(self, folder: Path, say: Callable[[str], None], written: Callable[[], None] = lambda: None) -> None:
        """`written` is called, in that thread, each time that something was written."""
        self.folder, self.say, self.written = folder, say, written
        self.thread: threading.Thread | None = None
        self.refused = ""
        """Why what was written last is not there."""

    def write(self, state: dict[str, Any], names: Sequence[str], keep: int, failed: str) -> None:
        """Write a copy of `state` under the first of `names`, make the others the same file, and keep the newest `keep`.

        Waits for the one before. Where the disk refuses, says `failed` and why; what was there stays.
        """
        self.wait()
        copy = _copied(state)
        self.thread = threading.Thread(target=self._write, args=(copy, names, keep, failed), name="checkpoint")
        self.thread.start()

    def wait(self) -> None:
        """Until what was begun is written, or has failed."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _write(self, state: dict[str, Any], names: Sequence[str], keep: int, failed: str) -> None:
        path, *others = (self.folder / name for name in names)
        self.refused = ""
        try:
            save(state, path)
            for other in others:
                link(path, other)
        except OSError as error:
            self.refused = f"{path}: {error.strerror or error}"
            self.say(f"{failed}: {self.refused}; training goes on, the last one stays")
            return
        for old in newest_first(self.folder)[keep:]:
            old.unlink(missing_ok=True)
        self.written()


def _copied(value: Any) -> Any:
    """Nested dicts and lists with tensors of their own, which training does not change."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return value


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state` to `path`, whole or not at all. Raises OSError where the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # what torch makes of a disk that takes no more
                raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, or the file may not grow") from error
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def link(path: Path, other: Path) -> None:
    """Make `other` the same file as `path`, replacing what was there; a copy where the disk knows no links."""
    temporary = other.with_name(f".{other.name}.{os.getpid()}.partial")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        os.replace(temporary, other)
        _sync_folder(other.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU. Raises UserError where the file is missing, damaged or something else."""
    state = read_tensors(path)
    if not isinstance(state, dict) or not {"format", "model", "progress", "config", "classes"} <= state.keys():
        raise UserError(f"{path}: not a distalex checkpoint; a run's are in RUN/checkpoints/")
    if state["format"] != FORMAT:
        raise UserError(f"{path}: checkpoint format {state['format']}, and this distalex reads {FORMAT}")
    return state


def read_tensors(path: Path) -> Any:
    """Any file of tensors and plain values, nothing else unpickled. Raises UserError where it cannot be read."""
    try:
        content = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise UserError(f"{path}: damaged, the checksum of its record {damaged} is wrong; use another checkpoint")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch, zipfile and pickle raise a dozen kinds for a file that is none of theirs
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: cannot be read as a file of weights ({type(error).__name__}: {reason})") from None


def newest_first(folder: Path) -> list[Path]:
    """The step checkpoints of a run, newest first."""
    return sorted((path for path in folder.glob("step-*.pt") if re.fullmatch(r"step-\d{8,}", path.stem)), reverse=True)


def step_of(path: Path) -> int:
    """The step of a checkpoint that `newest_first` lists."""
    return int(path.stem.removeprefix("step-"))


def load_newest(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint of a run that is whole; says which ones it passes over."""
    for path in newest_first(folder):
        try:
            return load(path)
        except UserError as error:
            say(f"passing over a checkpoint: {error}")
    return None


def find(place: str, runs_dir: str = "runs") -> Path:
    """The checkpoint that a path or run name means: a file, else the newest of a run. Raises UserError."""
    for path in (Path(place), Path(runs_dir) / place):
        if path.is_file():
            return path
        folder = path if path.name == "checkpoints" else path / "checkpoints"
        if folder.is_dir():
            found = newest_first(folder) or [path for path in [folder / "best.pt"] if path.is_file()]
            if found:
                return found[0]
            raise UserError(f"{folder}: holds no checkpoint yet; train first or name another run")
    raise UserError(f"{place}: no such run or checkpoint{known_runs(runs_dir)}")


def known_runs(runs_dir: str) -> str:
    runs = sorted((path for path in Path(runs_dir).glob("*/checkpoints") if path.is_dir()), key=lambda path: path.stat().st_mtime)
    return f"; the newest in {runs_dir}/ are {', '.join(path.parent.name for path in runs[-3:])}" if runs else f"; {runs_dir}/ has none"


def load_weights(net: AlexNet, place: str, runs_dir: str, normalize: str, say: Callable[[str], None]) -> None:
    """Start `net` from a run or a state dict, ours, torchvision's or the released code's; a classifier of another size starts anew.

    Says so where the weights saw pictures on another scale than `normalize`, this run's. Raises UserError where any other weight
    is missing or has another shape.
    """
    path = find(place, runs_dir)
    content = read_tensors(path)
    weights = content.get("average") or content["model"] if isinstance(content, dict) and "model" in content else content
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"model.weights={place}: holds no state dict of tensors")
    saw = "paper" if is_released(weights) else content["config"]["data"]["normalize"] if "format" in content else normalize
    if saw != normalize:
        say(f"model.weights={place}: saw its pictures with data.normalize={saw}; --data.normalize={saw} keeps what it learned")
    weights, own = from_released(weights, place) if is_released(weights) else from_torchvision(weights), net.state_dict()
    if "fc8.weight" in weights and weights["fc8.weight"].shape != own["fc8.weight"].shape:
        say(f"fc8 starts anew: {place} tells {len(weights['fc8.weight'])} classes apart, this run {net.classes}")
        weights = {**weights, "fc8.weight": own["fc8.weight"], "fc8.bias": own["fc8.bias"]}
    for name in own:
        if name not in weights:
            raise UserError(f"model.weights={place}: has no {name}; is it another network than model.name says?")
        if weights[name].shape != own[name].shape:
            theirs, ours = tuple(weights[name].shape), tuple(own[name].shape)
            raise UserError(f"model.weights={place}: {name} is {theirs} there and {ours} here; is it another network than model.name says?")
    net.load_state_dict({name: weights[name] for name in own})


def freeze(net: nn.Module, layers: config.Names) -> None:
    """Let the parameters of these layers stay as they are. Raises UserError for a name that is no layer."""
    known = {name.rpartition(".")[0] for name, _ in net.named_parameters()}
    for layer in layers:
        if layer not in known:
            raise UserError(f"model.freeze={layer}: no such layer; there are {', '.join(sorted(known))}")
        net.get_submodule(layer).requires_grad_(False)
    if layers and not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError("model.freeze: every layer is frozen, so nothing would learn; leave fc8 out at least")
