"""A copy of a run in another place, wherever fsspec reaches: a bucket, another host, a disk that outlives the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distalex.errors import UserError

FILES = ("config.yaml", "starts.jsonl", "metrics.jsonl")
"""Of a run besides its checkpoints, and copied before them, so that they tell of every step that a checkpoint has done."""


class Remote:
    """The folder URL/NAME, which holds what a run on a new machine needs to go on."""

    def __init__(self, url: str, name: str, say: Callable[[str], None]) -> None:
        """Raises UserError where fsspec does not know or reach the place."""
        import fsspec

        self.url, self.say = f"{url.rstrip('/')}/{name}", say
        try:
            self.system, self.path = fsspec.core.url_to_fs(self.url)
            self.system.exists(self.path)
        except Exception as error:  # every kind of storage raises its own
            raise UserError(f"checkpoint.remote={url}: cannot be reached ({_reason(error)}); is its package installed?") from None

    def fetch(self, folder: Path) -> None:
        """Bring the run into `folder` where the copy has a later checkpoint. Raises UserError where that fails."""
        here = max((path.name for path in (folder / "checkpoints").glob("step-*.pt")), default="")
        try:
            later = [name for name in self._checkpoints() if name > here][:2]  # two, lest the newest is damaged
            if not later:
                return
            self.say(f"bringing {later[0]} from {self.url}")
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            for name in (*FILES, *(f"checkpoints/{name}" for name in later)):
                if self.system.exists(f"{self.path}/{name}"):
                    self._bring(name, folder / name)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"checkpoint.remote: {self.url} cannot be read ({_reason(error)})") from None

    def push(self, folder: Path, names: Sequence[str]) -> None:
        """Copy the run's files and these checkpoints, and drop those that the run no longer keeps. Where that fails, says so."""
        try:
            self.system.makedirs(f"{self.path}/checkpoints", exist_ok=True)
            for name in (*FILES, *(f"checkpoints/{name}" for name in names)):
                if (folder / name).exists():
                    self.system.put_file(str(folder / name), f"{self.path}/{name}")
            for name in self._checkpoints():
                if not (folder / "checkpoints" / name).exists():
                    self.system.rm_file(f"{self.path}/checkpoints/{name}")
        except Exception as error:
            self.say(f"{self.url}: {names[0]} was not copied there ({_reason(error)}); training goes on, and the next one is tried again")

    def _checkpoints(self) -> list[str]:
        """Names, newest first."""
        if not self.system.exists(f"{self.path}/checkpoints"):
            return []
        found: list[Any] = self.system.ls(f"{self.path}/checkpoints", detail=False)
        names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        return sorted((name for name in names if re.fullmatch(r"step-\d{8,}\.pt", name)), reverse=True)

    def _bring(self, name: str, target: Path) -> None:
        temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            self.system.get_file(f"{self.path}/{name}", str(temporary))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
