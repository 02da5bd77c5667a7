"""Bytes that a process sends and seconds that it waits, by purpose."""

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


class Traffic:
    """What communication costs this process: bytes it sends in a step, and seconds it waits with nothing left to compute.

    Both are kept by what they are for: `conv3`, `fc6`, `fc7` and `fc8` (what a layer reads of the other columns, and the
    gradients of that), `gradients`, and, counted apart because no network needs them, `images` and `logits`.
    """

    APART = ("images", "logits")

    def __init__(self) -> None:
        self.sent: dict[str, int] = defaultdict(int)
        self.collectives: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.last_gradients_started = 0.0
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def start_step(self) -> None:
        self.sent.clear()
        self.collectives.clear()
        self.last_gradients_started = 0.0

    def send(self, purpose: str, nbytes: int) -> None:
        self.sent[purpose] += nbytes
        self.collectives[purpose] += 1

    @property
    def bytes(self) -> int:
        """Sent in this step for the layers and the gradients."""
        return sum(count for purpose, count in self.sent.items() if purpose not in self.APART)

    @contextmanager
    def waiting(self, purpose: str, device: torch.device) -> Iterator[None]:
        """What is done inside only waits: on a GPU its stream, on a CPU this thread."""
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
        """Nothing is left to compute when the last gradients start, so the time since then is exposed; unknown on a GPU."""
        if self.last_gradients_started:
            waited = time.perf_counter() - self.last_gradients_started
            self.seconds["gradients"] += waited if device.type == "cpu" else math.nan

    def take_seconds(self) -> dict[str, float]:
        """Exposed seconds by purpose since the last call. Waits for a GPU to get there."""
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
    """What an exchange brings, once it is there."""

    pieces: list[Tensor]
    """From each device of the column group; the own one is empty."""
    sending: Tensor
    """Held until it has been sent."""
    work: dist.Work
    purpose: str
    traffic: Traffic

    def wait(self) -> list[Tensor]:
        """Once; what it sent counts to the step in which it is waited for."""
        self.traffic.send(self.purpose, self.sending.nbytes)
        with self.traffic.waiting(self.purpose, self.sending.device):
            self.work.wait()
        return self.pieces
