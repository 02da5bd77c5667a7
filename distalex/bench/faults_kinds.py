"""What can strike a run in `bench faults`: from outside, from inside its processes, or by changing its data; and how it must end."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distalex.bench.faults_attempt import Attempt, read_rows, send_signal
from distalex.bench.small_run import STEPS_PER_EPOCH


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    wait: Callable[[Attempt, random.Random], bool] = lambda *_: True
    """Wait for a random moment; False where the attempt ended before it."""
    strike: Callable[[Attempt, random.Random], None] = lambda *_: None
    """Strike from outside. All processes of the attempt must end afterwards."""
    inside: str = ""
    """Key of `faults_inside.INSIDE`, for a fault that strikes inside a process."""
    events: int = 1
    """The most events of that kind after which it strikes there."""
    on_any_rank: bool = True
    """Whether it strikes there on any rank, and not on rank 0 alone, which writes."""
    change: Callable[[Path, random.Random], None] | None = None
    """Change the folder of images before a run is resumed, which must be refused."""
    several: bool = False
    """Whether it needs more than one process."""
    statuses: tuple[int, ...] = ()
    """Allowed exit statuses, besides torchrun's 1 and, unless data changed, 0; empty where all processes are killed."""
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


def _rename_a_class(root: Path, chance: random.Random) -> None:
    split = root / chance.choice(("train", "test"))
    for one in (root / "train", root / "test") if chance.random() < 0.5 else (split,):
        (one / "class0").rename(one / "another")


def _exchange_two_classes(root: Path, _: random.Random) -> None:
    for split in (root / "train", root / "test"):
        (split / "class0").rename(split / "kept")
        (split / "class1").rename(split / "class0")
        (split / "kept").rename(split / "class1")


def _exchange_two_images(root: Path, chance: random.Random) -> None:
    split = root / chance.choice(("train", "test"))
    one, other = (chance.choice(sorted((split / name).iterdir())) for name in ("class0", "class2"))
    before = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(before)


def _add_an_image(root: Path, chance: random.Random) -> None:
    folder = root / chance.choice(("train", "test")) / "class1"
    shutil.copyfile(chance.choice(sorted(folder.iterdir())), folder / "added.png")


def _remove_an_image(root: Path, chance: random.Random) -> None:
    chance.choice(sorted((root / chance.choice(("train", "test")) / "class3").iterdir())).unlink()


def _changed(change: Callable[[Path, random.Random], None]) -> Fault:
    return Fault(change=change, statuses=(2,), must_log="class", weight=0.6)


FAULTS = {
    "kill -9 of all, while training": Fault(_after_some_steps, _kill_all),
    "kill -9 of all, while starting": Fault(_while_starting, _kill_all),
    "kill -9 of all, while saving": Fault(_while_saving, _kill_all),
    "kill -9 of all, while evaluating": Fault(_while_evaluating, _kill_all),
    "kill -9 of one rank": Fault(_after_some_steps, _signal_one(signal.SIGKILL), several=True, statuses=(1,)),
    "SIGSTOP of one rank": STOPPED,
    "SIGTERM": Fault(_after_some_steps, _signal_all(signal.SIGTERM), statuses=(143,)),
    "SIGUSR1": Fault(_after_some_steps, _signal_all(signal.SIGUSR1), statuses=(138,)),
    "inside: NaN in a layer": Fault(inside="nan", events=60, statuses=(1,), must_log="not finite"),
    "inside: the reader fails": Fault(inside="reader", events=20, statuses=(1,), must_log="Input/output error"),
    "inside: the writer fails": Fault(inside="writer", events=8, on_any_rank=False, statuses=(1,), must_log="the writer fails"),
    "inside: slow disk": Fault(inside="slow disk", events=40, on_any_rank=False, weight=0.5),
    "inside: full disk": Fault(inside="full disk", events=20, on_any_rank=False, statuses=(1, 2), must_log="No space left"),
    "inside: kill -9 while writing": Fault(inside="killed while writing", events=30, on_any_rank=False),
    "data: a class renamed": _changed(_rename_a_class),
    "data: two classes exchanged": _changed(_exchange_two_classes),
    "data: two images exchanged": _changed(_exchange_two_images),
    "data: an image added": _changed(_add_an_image),
    "data: an image removed": _changed(_remove_an_image),
}
"""Every kind, by its name in results."""
