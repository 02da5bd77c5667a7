"""Signals that stop a run: it saves, and the command ends with 128 + the signal's number."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

from distalex.parallel.mesh import Mesh

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What people and schedulers send."""


class StopSignals:
    """Remembers the signal that a process got while the context is open. A second Ctrl-C raises KeyboardInterrupt.

    Python delivers signals to the main thread alone, so that a run in another thread leaves them as they are.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.received: int | None = None
        self.can_save = False
        """Whether there is a state to save. Until then a signal ends the process at once: preparing data can take hours."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and (self.received is not None or not self.can_save):
            raise KeyboardInterrupt
        if not self.can_save:
            sys.exit(128 + number)
        self.received = number

    def requested(self) -> bool:
        """Whether any rank got a signal. A collective: every rank calls it at every step."""
        self.mesh.beat()
        return self.mesh.any(self.received is not None)
