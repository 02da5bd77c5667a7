"""Faults inside a training process: in a layer, the reader, the writer or the disk.

`python -m distalex.bench.faults_inside` trains as `python -m distalex.train` does, with the faults that the environment names.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import runpy
import signal
import time
from collections.abc import Callable
from typing import Any

FAULTS = "DISTALEX_FAULTS_INSIDE"
"""Environment variable, a JSON list of {"kind": one of INSIDE, "rank": where it strikes, "at": the event that it strikes, from 1}."""


def _countdown(at: int) -> Callable[[], bool]:
    """Return a function that is true at its call number `at` and false otherwise."""
    calls = 0

    def is_now() -> bool:
        nonlocal calls
        calls += 1
        return calls == at

    return is_now


def _nan_in_a_layer(at: int) -> None:
    """The output of one convolution becomes NaN in one training step."""
    from torch import Tensor, nn

    forward, is_now = nn.Conv2d.forward, _countdown(at)

    def failing(self: nn.Conv2d, images: Tensor) -> Tensor:
        output = forward(self, images)
        return output * float("nan") if self.training and is_now() else output

    nn.Conv2d.forward = failing  # type: ignore[method-assign, assignment]


def _failing_reader(at: int) -> None:
    """The disk fails while a batch is read."""
    from distalex.data.readers import FFCVReader

    read, is_now = FFCVReader.read, _countdown(at)

    def failing(self: FFCVReader, batches: Any) -> Any:
        for batch in read(self, batches):
            if is_now():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield batch

    FFCVReader.read = failing  # type: ignore[method-assign]


def _failing_writer(at: int) -> None:
    """Writing a checkpoint fails, and not because of the disk."""
    import torch

    save, is_now = torch.save, _countdown(at)

    def failing(*given: Any, **more: Any) -> None:
        if is_now():
            raise ValueError("the writer fails")
        save(*given, **more)

    torch.save = failing


def _slow_disk(at: int) -> None:
    """A file takes longer to reach the disk than `train.timeout`."""
    sync, is_now = os.fsync, _countdown(at)

    def slow(descriptor: Any) -> None:
        if is_now():
            time.sleep(12.0)
        sync(descriptor)

    os.fsync = slow  # type: ignore[assignment]


def _full_disk(at: int) -> None:
    """The disk is full for three files."""
    sync, calls = os.fsync, iter(range(1, 2**31))

    def full(descriptor: Any) -> None:
        if at <= next(calls) < at + 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    os.fsync = full  # type: ignore[assignment]


def _killed_while_writing(at: int) -> None:
    """kill -9 between opening a file of the run and writing to it."""
    open_, is_now = io.open, _countdown(at)

    def opened(file: Any, mode: str = "r", *given: Any, **more: Any) -> Any:
        found = open_(file, mode, *given, **more)
        if mode[0] in "wa" and "struck-" in str(file) and is_now():
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    builtins.open = io.open = opened  # type: ignore[assignment]


INSIDE = {
    "nan": _nan_in_a_layer,
    "reader": _failing_reader,
    "writer": _failing_writer,
    "slow disk": _slow_disk,
    "full disk": _full_disk,
    "killed while writing": _killed_while_writing,
}
"""What installs each fault, given `at`."""


if __name__ == "__main__":
    for fault in json.loads(os.environ[FAULTS]):
        if int(os.environ.get("RANK", "0")) == fault["rank"]:
            INSIDE[fault["kind"]](fault["at"])
    runpy.run_module("distalex.train", run_name="__main__")
