"""A run's folder: locked by one job at a time, with its config and a line for every start."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from distalex.config.config import Config
from distalex.errors import UserError
from distalex.files import write_atomically


class RunFolder:
    """The folder `runs_dir/name`. Opening it creates nothing; `claim` does."""

    def __init__(self, runs_dir: str, name: str) -> None:
        self.name = name
        self.path = Path(runs_dir) / name
        self.checkpoints = self.path / "checkpoints"
        self._lock: TextIO | None = None

    def exists(self) -> bool:
        """Whether there is anything at the path but what a job leaves that is killed before it has written config.yaml."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(not _is_left_by_a_start(path) for path in self.path.iterdir())

    def claim(self, say: Callable[[str], None]) -> str:
        """Create the folder and lock it for this process. Return why that is not possible, or an empty string.

        The lock ends with the process, however that ends. Call on rank 0 alone.
        """
        path = self.path.with_name(f".{self.name}.lock")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = open(path, "a+")  # noqa: SIM115
        except OSError as error:
            return self.unwritable(error)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "owner unknown"
            self._close()
            return f"name={self.name}: {self.path}/ is locked by another job ({owner}); wait for it, or choose another --name"
        except OSError as error:
            say(f"{path}: this file system has no locks ({error.strerror}); make sure that one job alone uses the folder")
        if not path.exists() or not os.path.samestat(os.fstat(self._lock.fileno()), path.stat()):
            self._close()  # its job has just ended and removed it
            return self.claim(say)
        try:
            self._lock.truncate(0)
            self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._lock.flush()
        except OSError as error:  # of a full disk
            return self.unwritable(error)
        return ""

    def resuming_options(self, max_steps: int | None) -> str:
        """The options that resume this run with its own config, to `max_steps` where it has such a limit."""
        runs_dir = "" if self.path.parent == Path("runs") else f" --runs_dir={shlex.quote(str(self.path.parent))}"
        return f"--name={self.name}{runs_dir} --checkpoint.resume=auto{f' --train.max_steps={max_steps}' if max_steps else ''}"

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            Path(self._lock.name).unlink(missing_ok=True)  # while it is still locked
            self._close()

    def _close(self) -> None:
        assert self._lock is not None
        self._lock.close()
        self._lock = None

    def write_start(self, config: Config, facts: dict[str, Any]) -> None:
        """Write config.yaml, add `facts` of this start to starts.jsonl, and remove half-written files of a killed job.

        Raises UserError where the folder cannot be written.
        """
        try:
            write_atomically(self.path / "config.yaml", config.dump().encode())
            with open(self.path / "starts.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
        except OSError as error:
            raise UserError(self.unwritable(error)) from None
        for half in self.path.rglob("*.partial"):
            half.unlink(missing_ok=True)

    def unwritable(self, error: OSError) -> str:
        """The line for a folder that cannot be created or written."""
        return f"{self.path}: cannot be written ({error.strerror}); give another place with --runs_dir=DIR"


def _is_left_by_a_start(path: Path) -> bool:
    """Whether a path in a run's folder is an empty `checkpoints/` or a half-written file."""
    if path.is_dir():
        return path.name == "checkpoints" and all(inside.suffix == ".partial" for inside in path.iterdir())
    return path.suffix == ".partial"
