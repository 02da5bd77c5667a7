"""Programs that benchmarks run: started, waited for, read, and ended with the benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from distalex.errors import UserError

MARK = "DISTALEX_PROGRAM"
"""Environment variable of a program and of all processes that it starts."""
GRACE = 10.0  # seconds in which a program that is to end may save
_running: dict[str, subprocess.Popen[Any] | None] = {}  # by mark
_leaving = threading.Event()


def torchrun(processes: int, logs: str | Path) -> list[str]:
    """Arguments of Python that start what follows in so many processes of this host; none for one. `logs`: a temporary folder."""
    if processes == 1:
        return []
    start = ["-m", "torch.distributed.run", "--standalone", "--local_addr=127.0.0.1", f"--nproc_per_node={processes}"]
    return [*start, f"--log_dir={logs}"]


def run_python(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run Python with `arguments`, such as `-m MODULE`, and return what it prints; `environment` is added to this process's.

    Raises UserError, with the line of its errors that gives the reason, where it fails.
    """
    done = run_to_end(arguments, {**os.environ, **(environment or {})})
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip(" =-_")]  # torchrun rules off what it says
        ours = [line for line in lines if line.startswith("distalex ")] or [line for line in lines if "Error: " in line][::-1]
        reason = (ours[:1] or lines[-1:] or ["no message"])[0]
        raise UserError(f"{' '.join(arguments[:3])} … failed with status {done.returncode}: {reason[:300]}")
    return done.stdout


def read_json(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Any:
    """Run Python with `arguments` and return the JSON of the last line that it prints. Raises UserError where it fails or prints none."""
    printed = run_python(arguments, environment).strip().splitlines()
    try:
        return json.loads(printed[-1])
    except (IndexError, ValueError):
        last = printed[-1][:200] if printed else "nothing"
        raise UserError(f"{' '.join(arguments[:3])} …: its last line must be JSON, and it printed {last}") from None


def run_to_end(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` in exactly this `environment`, and return its status and what it printed."""
    with started(arguments, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@contextlib.contextmanager
def started(arguments: Sequence[str], environment: Mapping[str, str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Python, started as by `start`; what still runs of it at the block's end is ended, as by `end`."""
    mark, process = start(arguments, environment, **options)
    try:
        yield process
    finally:
        end(mark)


def start(arguments: Sequence[str], environment: Mapping[str, str], **options: Any) -> tuple[str, subprocess.Popen[Any]]:
    """Start Python with `arguments` and the `options` of Popen; returns the mark of all its processes, for `end`, and the first one."""
    mark = uuid.uuid4().hex
    _running[mark] = None  # a signal may come while it is being started
    process = None if _leaving.is_set() else subprocess.Popen([sys.executable, *arguments], env={**environment, MARK: mark}, **options)
    _running[mark] = process
    if process is None or _leaving.is_set():
        end(mark, grace=0)
        raise KeyboardInterrupt
    return mark, process


def end(mark: str, grace: float = GRACE) -> None:
    """End a program and all that it started: by SIGTERM, upon which training saves; by SIGKILL what is left after `grace` seconds."""
    if mark not in _running:
        return
    process = _running[mark]
    if grace and process and process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    while numbers := [number for number, _ in marked(mark)]:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        if process:
            process.poll()
        time.sleep(0.02)
    if process:
        process.kill()  # where there is no /proc that shows marks
        process.wait()
    _running.pop(mark, None)


def marked(mark: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Numbers and environments of a program's living processes; none on a system without /proc."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "environ").read_bytes().split(b"\0")
            is_zombie = (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        environment = dict(word.decode(errors="replace").partition("=")[::2] for word in words if b"=" in word)
        if environment.get(MARK) == mark and not is_zombie:
            yield int(place.name), environment


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """Within the block, SIGINT, SIGTERM and SIGHUP end the programs that run, and then this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        _leaving.set()  # a thread that waits for a program starts no other one
        for mark in list(_running):
            end(mark)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _leaving.clear()
