"""A copy of a run in another place that fsspec reaches: a bucket, another host, a disk that outlives the machine."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distalex.config.checkpoint import without_credentials
from distalex.errors import UserError, brief
from distalex.runs.checkpoint import newest_first, step_of

FILES = ("config.yaml", "starts.jsonl", "metrics.jsonl", "wandb/id")
"""Files of a run that are copied before its checkpoints, so that they cover every step of a checkpoint."""


class Remote:
    """The folder URL/NAME, which holds what a run needs to resume on a new machine."""

    def __init__(self, url: str, name: str, say: Callable[[str], None]) -> None:
        """Raises UserError where fsspec does not know or reach the place."""
        import fsspec

        whole = f"{url.rstrip('/')}/{name}"
        self.url, self.say = without_credentials(whole), say
        """As it may be printed."""
        self.sent: dict[str, tuple[int, int]] = {}
        """Checkpoints that this process copied or fetched, with their time and inode then."""
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.again = False
        try:
            self.system, self.path = fsspec.core.url_to_fs(whole)
            self.system.exists(self.path)
        except Exception as error:  # every kind of storage raises its own
            raise UserError(
                f"checkpoint.remote={without_credentials(url)}: cannot be reached ({_reason(error)}); is its package installed?"
            ) from None

    def require_new(self) -> None:
        """Raise UserError where the place holds a run, which a new one must not overwrite."""
        if self._checkpoints():
            raise UserError(f"checkpoint.remote: {self.url} holds a run; resume it with --checkpoint.resume=auto, or choose another --name")

    def fetch(self, folder: Path) -> None:
        """Copy the run into `folder` where the copy has a later checkpoint. Raises UserError where that fails."""
        here = max(map(step_of, newest_first(folder / "checkpoints")), default=-1)
        try:
            later = [name for name in self._checkpoints() if step_of(Path(name)) > here][:2]  # two, lest the newest is damaged
            if not later:
                return
            self.say(f"fetching {later[0]} from {self.url}")
            for name in (*FILES, "checkpoints/best.pt", *(f"checkpoints/{name}" for name in later)):
                if self.system.exists(f"{self.path}/{name}"):
                    self._bring(name, folder / name)
        except Exception as error:
            raise UserError(f"checkpoint.remote: {self.url} cannot be read ({_reason(error)})") from None

    def push(self, folder: Path) -> None:
        """Copy the run's files and newest checkpoints in a background thread; a failure is reported and retried at the next call."""
        with self.lock:
            self.again = True
            if self.thread is None:
                self.thread = threading.Thread(target=self._send_until_done, args=(folder,), name="remote", daemon=True)
                self.thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until everything is copied, for `seconds` at most."""
        thread = self.thread
        if thread is not None:
            thread.join(seconds)
            if thread.is_alive():
                self.say(f"{self.url}: the last checkpoint was not copied within {seconds:.0f} s; it is in the run's folder")

    def _send_until_done(self, folder: Path) -> None:
        while True:
            with self.lock:
                if not self.again:
                    self.thread = None
                    return
                self.again = False
            try:
                self._send(folder)
            except Exception as error:
                self.say(f"{self.url}: copying failed ({_reason(error)}); training continues, and the next checkpoint retries")

    def _send(self, folder: Path) -> None:
        self.system.makedirs(f"{self.path}/checkpoints", exist_ok=True)
        newest = [path.name for path in newest_first(folder / "checkpoints")[:1]]
        for name in FILES:
            if (folder / name).exists():
                self.system.makedirs(f"{self.path}/{name}".rpartition("/")[0], exist_ok=True)
                self.system.put_file(str(folder / name), f"{self.path}/{name}")
        for name in (*newest, "best.pt"):
            path = folder / "checkpoints" / name
            if path.exists() and self.sent.get(name) != (stamp := _stamp(path)):
                self.system.put_file(str(path), f"{self.path}/checkpoints/{name}")
                self.sent[name] = stamp
        for name in [name for name in self.sent if not (folder / "checkpoints" / name).exists()]:
            self.system.rm_file(f"{self.path}/checkpoints/{name}")
            del self.sent[name]

    def _checkpoints(self) -> list[str]:
        """Names, newest first."""
        if not self.system.exists(f"{self.path}/checkpoints"):
            return []
        found: list[Any] = self.system.ls(f"{self.path}/checkpoints", detail=False)
        names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        steps = (name for name in names if re.fullmatch(r"step-\d{8,}\.pt", name))
        return sorted(steps, key=lambda name: step_of(Path(name)), reverse=True)

    def _bring(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
        try:
            self.system.get_file(f"{self.path}/{name}", str(temporary))
            os.replace(temporary, target)
            if target.suffix == ".pt":
                self.sent[target.name] = _stamp(target)
        finally:
            temporary.unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def _reason(error: Exception) -> str:
    """What a storage reports, without the credentials of URLs in it."""
    words = [without_credentials(word) if "://" in word else word for word in f"{type(error).__name__}: {error}".split()]
    return brief(" ".join(words))
