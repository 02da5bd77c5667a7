"""What can strike a run in `bench faults`: when, what is done to it, and how it must end."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from distalex.bench.faults_attempt import Attempt, read_rows, send_signal
from distalex.bench.small_run import STEPS_PER_EPOCH


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    wait: Callable[[Attempt, random.Random], bool]
    """Wait for a random moment; False where the attempt ended before it."""
    strike: Callable[[Attempt, random.Random], None]
    """Do it. All processes of the attempt must end afterwards."""
    several: bool = False
    """Whether it needs more than one process."""
    statuses: tuple[int, ...] = ()
    """Allowed exit statuses, besides torchrun's 1; empty where all processes are killed."""
    must_log: str = ""
    """Words that the log must contain."""
    weight: float = 1.0
    """How often it is drawn, relative to others."""


def _after_some_steps(attempt: Attempt, chance: random.Random) -> bool:
    wanted = attempt.step + chance.randint(1, 12)
    reached = attempt.wait_until(lambda: attempt.step >= wanted)
    time.sleep(chance.uniform(0.0, 0.1))
    return reached


def _while_starting(attempt: Attempt, chance: random.Random) -> bool:
    deadline = time.monotonic() + chance.uniform(0.0, 6.0)
    return attempt.wait_until(lambda: time.monotonic() > deadline)


def _while_saving(attempt: Attempt, chance: random.Random) -> bool:
    """While a checkpoint is half written."""
    first = attempt.step + chance.randint(1, 4)
    checkpoints = attempt.folder / "checkpoints"
    return attempt.wait_until(lambda: attempt.step >= first and any(checkpoints.glob(".*.partial")), every=0.0)


def _while_evaluating(attempt: Attempt, chance: random.Random) -> bool:
    """After the last step of an epoch and before its evaluation is logged."""
    began = attempt.step

    def evaluates() -> bool:
        rows = read_rows(attempt.folder)
        return bool(rows) and rows[-1]["kind"] == "train" and rows[-1]["step"] % STEPS_PER_EPOCH == 0 and rows[-1]["step"] > began

    return attempt.wait_until(evaluates, every=0.0)


def _kill_all(attempt: Attempt, _: random.Random) -> None:
    attempt.kill()


def _signal_one(number: signal.Signals) -> Callable[[Attempt, random.Random], None]:
    def strike(attempt: Attempt, chance: random.Random) -> None:
        if ranks := attempt.ranks:
            send_signal(ranks[chance.choice(sorted(ranks))], number)

    return strike


def _signal_all(number: signal.Signals) -> Callable[[Attempt, random.Random], None]:
    """To every rank, as schedulers do."""

    def strike(attempt: Attempt, _: random.Random) -> None:
        for process in attempt.ranks.values():
            send_signal(process, number)

    return strike


STOPPED = Fault(  # drawn less often: torchrun takes half a minute to end a stopped process
    _after_some_steps, _signal_one(signal.SIGSTOP), several=True, statuses=(1,), must_log="does not answer", weight=0.3
)
FAULTS = {
    "kill -9 of all, while training": Fault(_after_some_steps, _kill_all),
    "kill -9 of all, while starting": Fault(_while_starting, _kill_all),
    "kill -9 of all, while saving": Fault(_while_saving, _kill_all),
    "kill -9 of all, while evaluating": Fault(_while_evaluating, _kill_all),
    "kill -9 of one rank": Fault(_after_some_steps, _signal_one(signal.SIGKILL), several=True, statuses=(1,)),
    "SIGSTOP of one rank": STOPPED,
    "SIGTERM": Fault(_after_some_steps, _signal_all(signal.SIGTERM), statuses=(143,)),
    "SIGUSR1": Fault(_after_some_steps, _signal_all(signal.SIGUSR1), statuses=(138,)),
}
"""Every kind, by its name in results."""
