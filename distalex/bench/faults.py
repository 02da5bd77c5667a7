"""Runs that are killed, stopped and signalled at random moments, and go on until they are done: is the curve the uninterrupted one's?"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distalex.bench.options import BenchOptions
from distalex.bench.results import open_folder, spread, write_result
from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.console import aligned
from distalex.machine.description import describe_machine
from distalex.runs.metrics import read_metrics

MARK = "DISTALEX_FAULTS"  # in the environment of every process of a life, by which they are found
TIMEOUT = 6.0  # seconds, the runs' train.timeout
LONGEST = 180.0  # seconds until something must have happened
PROCESSES = {name: mode.facts["LEAST"] for name, mode in declared_in(MODES).items()}
RUN = {  # of a minute or less where nothing happens, with everything random on
    "data.name": "synthetic",
    "data.image_size": 64,
    "data.synthetic_images": 64,
    "data.synthetic_classes": 4,
    "data.augment": "paper",
    "model.fc6": 64,
    "model.fc7": 64,
    "train.epochs": 15,
    "train.batch_size": 16,
    "train.threads": 1,
    "train.timeout": TIMEOUT,
    "checkpoint.every_steps": 2,
    "checkpoint.keep": 2,
    "log.every": 1,
    "log.wandb": "disabled",
    "device": "cpu",
}


@dataclass
class Life:
    """One start of a run, until it ends."""

    folder: Path
    process: subprocess.Popen[bytes]
    processes: int
    mark: str
    log: Path
    said_before: int
    """Bytes of the log that earlier lives wrote."""

    @property
    def ranks(self) -> dict[int, int]:
        """Process numbers of those that are alive by their rank; torchrun itself has none."""
        found = {}
        for number, environment in _environments(self.mark):
            if (rank := environment.get("RANK")) is not None:
                found[int(rank)] = number
        return found if self.processes > 1 else {0: self.process.pid}

    @property
    def step(self) -> int:
        """The last that metrics.jsonl has."""
        return max((row["step"] for row in _rows(self.folder)), default=0)

    def kill(self) -> None:
        """Everything of it, at once."""
        while numbers := [number for number, _ in _environments(self.mark)]:
            for number in numbers:
                _signal(number, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.02)
        self.process.wait()


@dataclass(frozen=True)
class Fault:
    """What is done to a life, and when."""

    waits: Callable[[Life, random.Random], bool]
    """Until it is time; False where the life ended before."""
    strikes: Callable[[Life, random.Random], None]
    """After which all of it is expected to end."""
    several: bool = False
    """Whether it takes more than one process."""
    statuses: tuple[int, ...] = ()
    """That it may end with, besides torchrun's 1; none where it is killed as a whole."""
    says: str = ""
    """What the log has to tell."""


@dataclass
class Seen:
    """What came of the faults of one kind."""

    count: int = 0
    seconds: list[float] = field(default_factory=list)
    """From the fault to the end of the last process."""
    lost: list[int] = field(default_factory=list)
    """Steps that were done and had to be done again."""
    wrong: list[str] = field(default_factory=list)


def _later(life: Life, chance: random.Random) -> bool:
    """Some steps on, and a moment after that."""
    wanted = life.step + chance.randint(1, 12)
    reached = _until(life, lambda: life.step >= wanted)
    time.sleep(chance.uniform(0.0, 0.1))
    return reached


def _while_starting(life: Life, chance: random.Random) -> bool:
    deadline = time.monotonic() + chance.uniform(0.0, 6.0)
    return _until(life, lambda: time.monotonic() > deadline)


def _while_saving(life: Life, chance: random.Random) -> bool:
    """While a checkpoint is half written."""
    first = life.step + chance.randint(1, 4)
    half = life.folder / "checkpoints"
    return _until(life, lambda: life.step >= first and any(half.glob(".*.partial")), every=0.0)


def _while_evaluating(life: Life, chance: random.Random) -> bool:
    """After the last step of an epoch and before its evaluation is told."""
    steps = RUN["data.synthetic_images"] // RUN["train.batch_size"]  # type: ignore[operator]

    def evaluates() -> bool:
        rows = _rows(life.folder)
        return bool(rows) and rows[-1]["kind"] == "train" and rows[-1]["step"] % steps == 0 and rows[-1]["step"] > began

    began = life.step
    return _until(life, evaluates, every=0.0)


def _kill_all(life: Life, _: random.Random) -> None:
    life.kill()


def _one(number: signal.Signals) -> Callable[[Life, random.Random], None]:
    """To one of the ranks."""

    def strike(life: Life, chance: random.Random) -> None:
        if ranks := life.ranks:
            _signal(ranks[chance.choice(sorted(ranks))], number)

    return strike


def _every(number: signal.Signals) -> Callable[[Life, random.Random], None]:
    """To every rank, as schedulers do."""

    def strike(life: Life, _: random.Random) -> None:
        for process in life.ranks.values():
            _signal(process, number)

    return strike


FAULTS = {
    "kill -9 of all, while training": Fault(_later, _kill_all),
    "kill -9 of all, while starting": Fault(_while_starting, _kill_all),
    "kill -9 of all, while saving": Fault(_while_saving, _kill_all),
    "kill -9 of all, while evaluating": Fault(_while_evaluating, _kill_all),
    "kill -9 of one rank": Fault(_later, _one(signal.SIGKILL), several=True, statuses=(1,)),
    "a rank stands still (SIGSTOP)": Fault(_later, _one(signal.SIGSTOP), several=True, statuses=(1,), says="does not answer"),
    "SIGTERM": Fault(_later, _every(signal.SIGTERM), statuses=(143,)),
    "SIGUSR1": Fault(_later, _every(signal.SIGUSR1), statuses=(138,)),
}
RARE = "a rank stands still (SIGSTOP)"  # takes half a minute, since torchrun gives it so long to end


def bench_faults(options: BenchOptions) -> dict[str, Any]:
    """Strike runs on random topologies until `kills` faults are spent; print a table and write OUT/faults-TIME.json.

    Each run is started again until it is done, and has then to equal, to the bit, one of the same topology that nothing happened to.
    """
    folder = open_folder(options.out)
    chance = random.Random(options.seed)
    seen = {name: Seen() for name in FAULTS}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        whole: dict[str, Path] = {}
        while sum(one.count for one in seen.values()) < options.kills:
            parallel = chance.choice(options.modes or tuple(PROCESSES))
            if parallel not in whole:
                life = _start(Path(place), f"whole-{parallel}", parallel)
                life.process.wait(LONGEST)
                assert life.process.returncode == 0, life.log.read_text()[-2000:]
                whole[parallel] = life.folder
            name = f"struck-{len(runs)}-{parallel}"
            struck = _strike_until_done(Path(place), name, parallel, chance, seen, options.kills)
            problems = differences(whole[parallel], struck)
            runs.append({"parallel": parallel, "problems": problems})
            spent = sum(one.count for one in seen.values())
            print(f"{spent} faults; {name}: {'; '.join(problems) or 'equal to the bit'}", flush=True)
    result = {
        "what": "faults",
        "command": f"python -m distalex.bench faults --kills={options.kills} --seed={options.seed}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "runs": runs,
        "faults": {name: _numbers(one) for name, one in seen.items() if one.count},
        "failed": [problem for run in runs for problem in run["problems"]] + [wrong for one in seen.values() for wrong in one.wrong],
    }
    print(_table(result))
    write_result(result, folder)
    return result


def _strike_until_done(place: Path, name: str, parallel: str, chance: random.Random, seen: dict[str, Seen], most: int) -> Path:
    """Lives of one run, each but the last ended by a fault."""
    by_itself = 0
    while True:
        life = _start(place, name, parallel)
        if sum(one.count for one in seen.values()) >= most:
            kind = None
        else:
            kinds = [kind for kind, fault in FAULTS.items() if life.processes > 1 or not fault.several]
            kind = chance.choices(kinds, [0.3 if kind == RARE else 1.0 for kind in kinds])[0]
        if kind is None or not FAULTS[kind].waits(life, chance):
            try:
                status = life.process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                status = -1
            life.kill()
            if status:
                seen[kind or "SIGTERM"].wrong.append(f"{name} ended by itself with {status}: {_last_line(life.log)}")
            by_itself += 1
            if status in (0, -1) or by_itself > 3:
                return life.folder
            continue
        _strike(life, kind, chance, seen[kind])


def _strike(life: Life, kind: str, chance: random.Random, seen: Seen) -> None:
    fault = FAULTS[kind]
    before, struck = life.step, time.monotonic()
    fault.strikes(life, chance)
    try:
        status = life.process.wait(LONGEST)
        while any(_environments(life.mark)) and time.monotonic() - struck < LONGEST:
            time.sleep(0.05)
    except subprocess.TimeoutExpired:
        status = -1
    seen.count += 1
    seen.seconds.append(time.monotonic() - struck)
    life.kill()
    saved = max((int(path.stem[5:]) for path in (life.folder / "checkpoints").glob("step-*.pt")), default=0)
    seen.lost.append(max(0, max(before, life.step) - saved))
    allowed = (*fault.statuses, 0, *((1,) if life.processes > 1 else ()))  # 0: it was done before the fault came
    if fault.statuses and status not in allowed:
        seen.wrong.append(f"{kind}: {life.folder.name} ended with {status}: {_last_line(life.log)}")
    if fault.says and status and fault.says not in life.log.read_bytes()[life.said_before :].decode(errors="replace"):
        seen.wrong.append(f"{kind}: {life.folder.name} does not say '{fault.says}': {_last_line(life.log)}")


def _start(place: Path, name: str, parallel: str) -> Life:
    processes = PROCESSES[parallel]
    options = [f"--{key}={value}" for key, value in RUN.items()]
    words = [
        "-m",
        "distalex.train",
        *options,
        f"--parallel={parallel}",
        f"--name={name}",
        f"--runs_dir={place}",
        "--checkpoint.resume=auto",
    ]
    if processes > 1:
        words = ["-m", "torch.distributed.run", *_meeting_place(), f"--nproc_per_node={processes}", *words]
    mark, log = f"{os.getpid()}-{time.monotonic_ns()}", place / f"{name}.log"
    environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1"}
    said_before = log.stat().st_size if log.exists() else 0
    with open(log, "ab") as file:
        process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=file, env=environment, start_new_session=True)
    return Life(place / name, process, processes, mark, log, said_before)


def _meeting_place() -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return ["--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free.getsockname()[1]}", "--rdzv_id=faults"]


def differences(whole: Path, struck: Path) -> list[str]:
    """Why a run is not the one that nothing happened to: steps, losses, weights, and files that were left behind."""
    problems = []
    rows, expected = ([_comparable(row) for row in _rows(folder)] for folder in (struck, whole))
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    if len(steps) != len(set(steps)):
        problems.append("a step stands twice in metrics.jsonl")
    if rows != expected:
        first = next((one for one, other in zip(rows, expected, strict=False) if one != other), None)
        problems.append(f"another curve, {len(rows)} rows against {len(expected)}, first {first}")
    weights = subprocess.run(
        [sys.executable, "-m", "distalex.compare", str(whole), str(struck), "--tolerance=0"], capture_output=True, text=True
    )
    if weights.returncode:
        problems.append((weights.stdout + weights.stderr).strip().splitlines()[-1][:300])
    left = [path.name for path in (*struck.rglob("*.partial"), *struck.parent.glob(f".{struck.name}.lock"))]
    if left:
        problems.append(f"left behind: {', '.join(left[:5])}")
    return problems


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row does not depend on time."""
    return {key: row.get(key) for key in ("kind", "step", "epoch", "loss", "top1", "top5", "lr", "count")}


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def _until(life: Life, true: Callable[[], bool], every: float = 0.02) -> bool:
    """Whether `true` came before the life ended."""
    deadline = time.monotonic() + LONGEST
    while life.process.poll() is None and time.monotonic() < deadline:
        if true():
            return True
        time.sleep(every)
    return False


def _environments(mark: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Living processes that were started with this mark, with their environment."""
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            words = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        environment = dict(word.decode(errors="replace").partition("=")[::2] for word in words if b"=" in word)
        if environment.get(MARK) == mark and not _is_zombie(place):
            yield int(place.name), environment


def _is_zombie(place: Path) -> bool:
    try:
        return (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _numbers(seen: Seen) -> dict[str, Any]:
    return {
        "count": seen.count,
        "seconds": spread(seen.seconds),
        "steps_lost": spread([float(lost) for lost in seen.lost]),
        "wrong": seen.wrong,
    }


def _table(result: dict[str, Any]) -> str:
    rows = [["fault", "times", "seconds until all had ended (longest)", "steps done again (most)", "wrong"]]
    for name, one in result["faults"].items():
        seconds, lost = one["seconds"], one["steps_lost"]
        rows.append(
            [
                name,
                str(one["count"]),
                f"{seconds['median']:.1f} ({seconds['max']:.1f})",
                f"{lost['median']:.0f} ({lost['max']:.0f})",
                str(len(one["wrong"])),
            ]
        )
    equal = sum(not run["problems"] for run in result["runs"])
    lines = [aligned(rows), f"{equal} of {len(result['runs'])} runs equal, to the bit, the one that nothing happened to", *result["failed"]]
    return "\n".join(lines)
