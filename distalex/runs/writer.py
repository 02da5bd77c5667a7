"""Checkpoints written in a thread while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from distalex.files import link_atomically
from distalex.runs.checkpoint import newest_first, save


class Writer:
    """Writes checkpoints in a thread of its own, one at a time, so that training does not wait for the disk."""

    def __init__(self, folder: Path, say: Callable[[str], None], written: Callable[[], None] = lambda: None) -> None:
        """`written` is called, in that thread, after each checkpoint."""
        self.folder, self.say, self.written = folder, say, written
        self.thread: threading.Thread | None = None
        self.refused = ""
        """Why the last checkpoint was not written; empty where it was."""

    def write(self, state: dict[str, Any], names: Sequence[str], keep: int, failed: str) -> None:
        """Write a copy of `state` under the first of `names`, make the others the same file, and keep the newest `keep`.

        Waits for the checkpoint before. Where the disk refuses, `failed` and the reason are reported; earlier checkpoints stay.
        """
        self.wait()
        copy = _copied(state)
        self.thread = threading.Thread(target=self._write, args=(copy, names, keep, failed), name="checkpoint")
        self.thread.start()

    def wait(self) -> None:
        """Wait until the checkpoint that was begun is written, or has failed."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _write(self, state: dict[str, Any], names: Sequence[str], keep: int, failed: str) -> None:
        path, *others = (self.folder / name for name in names)
        self.refused = ""
        try:
            save(state, path)
            for other in others:
                link_atomically(path, other)
        except OSError as error:
            self.refused = f"{path}: {error.strerror or error}"
            self.say(f"{failed}: {self.refused}; training continues, the last checkpoint stays")
            return
        for old in newest_first(self.folder)[keep:]:
            old.unlink(missing_ok=True)
        self.written()


def _copied(value: Any) -> Any:
    """A deep copy of nested dicts, so that training does not change its tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return value
