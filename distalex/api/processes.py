"""Train on several processes of this machine, started from one, as torchrun would."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from distalex.config.config import Config
from distalex.errors import TrainingError

if TYPE_CHECKING:
    from distalex.train.loop import Summary

PACKAGE = Path(__file__).resolve().parents[2]
"""The folder in which this process found distalex."""
COLOURS = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables by which a notebook says that it shows colours; lines of other processes come through a pipe."""
ALONE = 10.0  # seconds within which the others end by themselves after one has failed


def train_on_processes(config: Config, processes: int) -> Summary:
    """Train on so many new processes of this machine, whose lines are printed here, and return rank 0's summary.

    An interrupt is handed on to them, and they save. Raises UserError and TrainingError as the processes do.
    """
    with tempfile.TemporaryDirectory(prefix="distalex-") as name:
        folder, port = Path(name), _free_port()
        (folder / "config.yaml").write_text(config.dump(), encoding="utf-8")
        workers = [_start(folder, rank, processes, port) for rank in range(processes)]
        printing = threading.Thread(target=_print_lines, args=(workers[0].stdout,))
        printing.start()
        try:
            interrupted = _wait(workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            printing.join()
            if workers[0].stdout:
                workers[0].stdout.close()
        found = [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("outcome-*"))]
    failures = sorted((order, place) for place, (order, outcome) in enumerate(found) if isinstance(outcome, Exception))
    if failures:
        raise found[failures[0][1]][1]
    if len(found) < processes:
        if interrupted:
            raise KeyboardInterrupt
        statuses = ", ".join(f"rank {rank}: {worker.returncode}" for rank, worker in enumerate(workers))
        raise TrainingError(f"processes ended without a result (exit status of {statuses}); see their messages above")
    return found[0][1]


def _start(folder: Path, rank: int, processes: int, port: int) -> subprocess.Popen[str]:
    """Start one rank with torchrun's variables, in a session of its own, so that a terminal's Ctrl-C reaches it from here alone."""
    variables = {
        **{"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes},
        **{"MASTER_ADDR": "localhost", "MASTER_PORT": port, "PYTHONUNBUFFERED": "1"},
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH")))),
    }
    first = rank == 0
    return subprocess.Popen(
        [sys.executable, "-m", "distalex.api", str(folder)],
        env={
            **{key: value for key, value in os.environ.items() if key not in COLOURS},
            **{key: str(value) for key, value in variables.items()},
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if first else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if first else None,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


def _print_lines(lines: Iterable[str] | None) -> None:
    for line in lines or ():
        print(line, end="", flush=True)


def _wait(workers: list[subprocess.Popen[str]]) -> bool:
    """Wait for all processes, but not long once one has failed. Returns whether this one was interrupted."""
    failed_at, interrupted = None, False
    while any(worker.poll() is None for worker in workers):
        try:
            time.sleep(0.05)
            if any(worker.returncode for worker in workers):
                failed_at = failed_at or time.monotonic()
                if time.monotonic() > failed_at + ALONE:
                    break
        except KeyboardInterrupt:
            interrupted = True
            for worker in workers:
                worker.send_signal(signal.SIGINT)
    return interrupted
