"""Bytes that a process sends and its exposed (non-overlapped) communication time, by purpose."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.profiler import record_function


def all_reduce_bytes(nbytes: int, processes: int) -> int:
    """Return the bytes that each of `processes` sends in a ring all-reduce of `nbytes`."""
    return nbytes * 2 * (processes - 1) // processes


class Traffic:
    """Communication of this process: bytes sent in a step, and exposed (non-overlapped) communication time in seconds.

    Both are counted by purpose: the name of a layer (what it reads of other columns, and the gradients of that), `gradients`,
    `statistics` of batch normalisation and, not counted in `bytes`, `images` and `logits`.
    """

    NOT_IN_COMM_BYTES = ("images", "logits")

    def __init__(self) -> None:
        self.sent: dict[str, int] = defaultdict(int)
        self.collectives: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.last_gradients_started = 0.0
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def start_step(self) -> None:
        """Reset the bytes of the step."""
        self.sent.clear()
        self.collectives.clear()
        self.last_gradients_started = 0.0

    def send(self, purpose: str, nbytes: int) -> None:
        """Count a collective in which this process sends `nbytes`."""
        self.sent[purpose] += nbytes
        self.collectives[purpose] += 1

    @property
    def bytes(self) -> int:
        """Bytes sent in this step, without images and logits."""
        return sum(count for purpose, count in self.sent.items() if purpose not in self.NOT_IN_COMM_BYTES)

    @contextmanager
    def waiting(self, purpose: str, device: torch.device) -> Iterator[None]:
        """Count the time inside as waiting: on a GPU that of its stream, on a CPU that of this thread."""
        with record_function(f"waiting for {purpose}"):
            if device.type == "cuda":
                before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                before.record()
                yield
                after.record()
                self._events.append((purpose, before, after))
            else:
                started = time.perf_counter()
                yield
                self.seconds[purpose] += time.perf_counter() - started

    def backward_done(self, device: torch.device) -> None:
        """Count the time since the last all-reduce of gradients started as exposed; unknown (NaN) on a GPU."""
        if self.last_gradients_started:
            waited = time.perf_counter() - self.last_gradients_started
            self.seconds["gradients"] += waited if device.type == "cpu" else math.nan

    def take_seconds(self) -> dict[str, float]:
        """Return exposed seconds by purpose since the last call. Waits for the GPU."""
        if self._events:
            self._events[-1][2].synchronize()
        for purpose, before, after in self._events:
            self.seconds[purpose] += before.elapsed_time(after) / 1000.0
        self._events.clear()
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken


@dataclass
class Arriving:
    """An exchange under way."""

    pieces: list[Tensor]
    """What each process of the column group sent; that of this process is empty."""
    sending: Tensor
    """Buffer that is kept until it has been sent."""
    work: dist.Work
    """The collective."""
    purpose: str
    """Name under which its traffic is recorded."""
    traffic: Traffic
    """Where its traffic is recorded."""

    def wait(self) -> list[Tensor]:
        """Wait for the exchange, once, and return what arrived; its bytes count to the step in which this is called."""
        self.traffic.send(self.purpose, self.sending.nbytes)
        with self.traffic.waiting(self.purpose, self.sending.device):
            self.work.wait()
        return self.pieces
