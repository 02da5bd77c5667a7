"""A run's folder: locked by one job at a time, with its config and a line for every start."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distalex.config.config import Config
from distalex.errors import UserError
from distalex.files import Lock, refuse_unwritable, write_atomically
from distalex.runs.metrics import read_metrics

WAY_OUT = "give another place with --runs_dir=DIR"


class RunFolder:
    """The folder `runs_dir/name`. Opening it creates nothing; `claim` does."""

    def __init__(self, runs_dir: str, name: str) -> None:
        self.name = name
        self.path = Path(runs_dir) / name
        self.checkpoints = self.path / "checkpoints"
        self._lock: Lock | None = None

    def exists(self) -> bool:
        """Whether there is anything at the path but what a job leaves that is killed before it has written config.yaml."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(not _is_left_by_a_start(path) for path in self.path.iterdir())

    def claim(self, say: Callable[[str], None]) -> None:
        """Create the folder and lock it for this process, until `release` or the end of the process. Call on rank 0 alone.

        Raises UserError where another job has locked it, or it cannot be written.
        """
        lock = Lock(self.path.with_name(f".{self.name}.lock"), removed=True)
        with refuse_unwritable(self.path, way_out=WAY_OUT):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock.path.touch()
        try:
            if not lock.acquire():
                owner = lock.holder() or "owner unknown"
                raise UserError(f"name={self.name}: {self.path}/ is locked by another job ({owner}); wait for it, or choose another --name")
        except OSError as error:
            say(f"{lock.path}: this file system has no locks ({error.strerror}); make sure that one job alone uses the folder")
        self._lock = lock
        with refuse_unwritable(self.path, way_out=WAY_OUT):
            lock.describe_holder(f"process {os.getpid()} on {socket.gethostname()}")

    def resuming_options(self, max_steps: int | None) -> str:
        """The options that resume this run with its own config, to `max_steps` where it has such a limit."""
        runs_dir = "" if self.path.parent == Path("runs") else f" --runs_dir={shlex.quote(str(self.path.parent))}"
        return f"--name={self.name}{runs_dir} --checkpoint.resume=auto{f' --train.max_steps={max_steps}' if max_steps else ''}"

    def first_step(self) -> int:
        """The step at which the run's first start began: 0, but for one that began from another run's checkpoint."""
        path = self.path / "starts.jsonl"
        rows: list[Any] = read_metrics(path) if path.is_file() else []
        return next((row["step"] for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)), 0)

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is None:
            return
        if self._lock.descriptor is None:  # on a file system without locks
            self._lock.path.unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def write_start(self, config: Config, facts: dict[str, Any]) -> None:
        """Write config.yaml, add `facts` of this start to starts.jsonl, and remove half-written files of a killed job.

        Raises UserError where the folder cannot be written.
        """
        with refuse_unwritable(self.path, way_out=WAY_OUT):
            write_atomically(self.path / "config.yaml", config.dump().encode())
            if config.model.code is not None:
                write_atomically(self.path / "network.py", config.model.code.encode())
            with open(self.path / "starts.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
        for half in self.path.rglob("*.partial"):
            half.unlink(missing_ok=True)


def _is_left_by_a_start(path: Path) -> bool:
    """Whether a path in a run's folder is an empty `checkpoints/` or a half-written file."""
    if path.is_dir():
        return path.name == "checkpoints" and all(inside.suffix == ".partial" for inside in path.iterdir())
    return path.suffix == ".partial"
