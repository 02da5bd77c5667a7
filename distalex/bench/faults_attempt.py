"""One start of a run that `bench faults` strikes: its processes, found by a mark in their environment, and its progress."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from distalex.bench import programs
from distalex.bench.faults_inside import FAULTS
from distalex.bench.small_run import IMAGES, small_run
from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.runs.metrics import read_metrics

LONGEST = 180.0  # seconds until something must have happened
SIDE = 64  # of the images, in pixels
PROCESSES = {name: mode.facts["LEAST"] for name, mode in declared_in(MODES).items()}
"""Processes of each --parallel mode."""


@dataclass
class Attempt:
    """One start of a run, until all its processes have ended."""

    folder: Path
    """The run directory."""
    process: subprocess.Popen[bytes]
    """The training process, or torchrun."""
    processes: int
    """Training processes."""
    mark: str
    """That all its processes have (see programs.py)."""
    log: Path
    """Standard output and errors of all attempts at this run."""
    logged_before: int
    """Bytes of the log that earlier attempts wrote."""

    @property
    def ranks(self) -> dict[int, int]:
        """Process numbers of the living training processes by rank."""
        if self.processes == 1:
            return {0: self.process.pid}
        environments = programs.marked(self.mark)
        return {int(environment["RANK"]): number for number, environment in environments if "RANK" in environment}

    @property
    def step(self) -> int:
        """The last step in metrics.jsonl."""
        return max((row["step"] for row in read_rows(self.folder)), default=0)

    @property
    def last_line(self) -> str:
        """The last line of the log, for a message."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "nothing was logged"

    @property
    def logged(self) -> str:
        """What this attempt has logged."""
        return self.log.read_bytes()[self.logged_before :].decode(errors="replace")

    def wait(self) -> int:
        """The exit status, or -1 after LONGEST seconds."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            return -1

    def wait_until(self, condition: Callable[[], bool], every: float = 0.02) -> bool:
        """Wait until `condition` holds, checked `every` so many seconds; False where the attempt ended or LONGEST passed first."""
        deadline = time.monotonic() + LONGEST
        while self.process.poll() is None and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(every)
        return False

    def kill(self) -> None:
        """Kill all its processes at once."""
        programs.end(self.mark, grace=0)


def start_attempt(place: Path, name: str, parallel: str, data: Path, inside: str = "") -> Attempt:
    """Start the run `name` on the images of `data` in the folder `place`, or resume it where it has a checkpoint.

    `inside`: the value of `faults_inside.FAULTS`, where a fault is to strike inside a process.
    """
    processes = PROCESSES[parallel]
    images = {"data.name": "folder", "data.root": data, "data.image_size": SIDE, "data.stored_size": SIDE}
    words = small_run({**images, "parallel": parallel, "name": name, "runs_dir": place, "checkpoint.resume": "auto"})
    if inside:
        words[1] = "distalex.bench.faults_inside"
    if processes > 1:
        words = ["-m", "torch.distributed.run", *_rendezvous(), f"--log_dir={place}", f"--nproc_per_node={processes}", *words]
    log = place / f"{name}.log"
    environment = {**os.environ, FAULTS: inside, "OMP_NUM_THREADS": "1", "DISTALEX_DATA": str(place / "data")}
    logged_before = log.stat().st_size if log.exists() else 0
    with open(log, "ab") as file:
        mark, process = programs.start(words, environment, stdout=file, stderr=file, start_new_session=True)
    return Attempt(place / name, process, processes, mark, log, logged_before)


def write_images(root: Path) -> None:
    """Noise as a folder of images: four classes, as many training images as `small_run` has, and a quarter of that for the test."""
    noise = random.Random(0)
    for split, count in (("train", IMAGES // 4), ("test", IMAGES // 16)):
        for number in range(4):
            (root / split / f"class{number}").mkdir(parents=True)
            for image in range(count):
                pixels = Image.frombytes("RGB", (SIDE, SIDE), noise.randbytes(3 * SIDE * SIDE))
                pixels.save(root / split / f"class{number}" / f"{image}.png")


def _rendezvous() -> list[str]:
    """Options of torchrun for a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return ["--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free.getsockname()[1]}", "--rdzv_id=faults"]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of a run's metrics.jsonl; none where it does not exist yet."""
    path = folder / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def send_signal(process: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
