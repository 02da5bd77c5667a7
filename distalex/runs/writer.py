"""Checkpoints written in a thread while training continues."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distalex.errors import brief
from distalex.files import link_atomically
from distalex.runs.checkpoint import newest_first, save


class _Task(NamedTuple):
    state: dict[str, Any]
    names: tuple[str, ...]
    keep: int
    failed: str


class Writer:
    """Writes checkpoints in a thread of its own, one at a time; no call but `wait` waits for the disk.

    If writing falls behind, queued checkpoints that a newer one supersedes are dropped.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], written: Callable[[], None] = lambda: None) -> None:
        """`written` is called, in that thread, after each checkpoint."""
        self.folder, self.say, self.written = folder, say, written
        self.refused = ""
        """Why the last checkpoint was not written; empty where it was."""
        self._lock = threading.Lock()
        self._waiting: list[_Task] = []
        self._thread: threading.Thread | None = None

    def write(self, state: dict[str, Any], names: Sequence[str], keep: int, failed: str) -> None:
        """Write a copy of `state` under the first of `names`, make the others the same file, and keep the newest `keep`.

        Where the disk refuses, `failed` and the reason are reported; earlier checkpoints stay.
        """
        task = _Task(_copied(state), tuple(names), keep, failed)
        with self._lock:
            self._waiting = [*_still_needed(self._waiting, task), task]
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="checkpoint")
                self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None

    def wait(self) -> None:
        """Wait until every checkpoint that was begun is written, or has failed."""
        if (thread := self._thread) is not None:
            thread.join()

    def _write_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                task = self._waiting.pop(0)
            self.refused = self._write(task)
            if self.refused:
                self.say(f"{task.failed}: {self.refused}; training continues, the last checkpoint stays")

    def _write(self, task: _Task) -> str:
        """Returns why the checkpoint was not written, or an empty string."""
        path, *others = (self.folder / name for name in task.names)
        try:
            save(task.state, path)
            for other in others:
                link_atomically(path, other)
            for old in newest_first(self.folder)[task.keep :]:
                old.unlink(missing_ok=True)
            self.written()
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        except Exception as error:  # whatever it is, the run must not end as if the checkpoint were there
            return f"{path}: {type(error).__name__}: {brief(error)}"
        return ""


def _still_needed(waiting: Sequence[_Task], new: _Task) -> list[_Task]:
    """Drop the files that `new` supersedes: those of older steps if it writes a step's, best.pt if it writes that."""
    is_best = {name == "best.pt" for name in new.names}
    kept = (task._replace(names=tuple(name for name in task.names if (name == "best.pt") not in is_best)) for task in waiting)
    return [task for task in kept if task.names]


def _copied(value: Any) -> Any:
    """A deep copy of nested dicts, so that training does not change its tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return value
