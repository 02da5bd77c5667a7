"""What all workers of one pytest session share: files that are made once, and the order of the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ALONE, QUICK, SLOW = -1.0, 0.0, 5.0  # seconds that are assumed of a test whose marker names none


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The session's temporary folder; each of several workers has its own one inside of it."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The shared folder `name`: the first worker that asks for it fills it with `make`, the others wait. Read-only for tests."""
    folder = shared_folder(factory) / name
    with open(folder.with_suffix(".lock"), "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if lock.read() != "made":
            shutil.rmtree(folder, ignore_errors=True)  # half of it, where `make` failed in another worker
            folder.mkdir()
            make(folder)
            lock.write("made")
    return folder


def seconds(test: pytest.Item) -> float:
    """What `@pytest.mark.slow(SECONDS)` says that a test takes; tests that run alone come last, when the others are short."""
    if test.get_closest_marker("alone"):
        return ALONE
    marker = test.get_closest_marker("slow")
    if marker is None:
        return QUICK
    return marker.args[0] if marker.args else SLOW


@contextmanager
def turn(folder: Path, alone: bool) -> Iterator[None]:
    """Hold off the tests of the other workers, which share `folder`, while a test runs `alone`; those that run are waited for."""
    with open(folder / "gate", "w") as gate, open(folder / "running", "w") as running:
        fcntl.flock(gate, fcntl.LOCK_EX)  # at which new tests wait behind one that waits for the machine
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
