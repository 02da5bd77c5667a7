"""Jobs on the hosts of a laboratory, as launch/multinode.sh starts them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.runs import REPOSITORY, options

from distalex.bench.laboratory import Host


class Job:
    """One run on several hosts: `runs/NAME` and a log for each host, in `place`."""

    def __init__(self, place: Path, name: str, head: str, nodes: str = "2", **environment: str) -> None:
        self.place, self.name, self.folder = place, name, place / "runs" / name
        shared = {"NPROC": "1", "OMP_NUM_THREADS": "1", "DISTALEX_DATA": str(place / "data"), "PYTHONPATH": str(REPOSITORY)}
        self.environment = {**shared, "NNODES": nodes, "HEAD": head, **environment}

    def start(self, host: Host, **changes: str) -> subprocess.Popen[bytes]:
        """Start its part on a host."""
        words = options(name=self.name, runs_dir=str(self.place / "runs"), checkpoint__resume="auto", **changes)
        return host.start(["bash", str(REPOSITORY / "launch" / "multinode.sh"), *words], self.environment, self.place, self.log(host))

    def log(self, host: Host) -> Path:
        """Where its part on a host prints."""
        return self.place / f"{self.name}-{host.name}.log"

    def rows(self, file: str = "metrics.jsonl") -> list[dict[str, Any]]:
        """What the run has logged so far."""
        path = self.folder / file
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.is_file() else []

    def process_on(self, host: Host) -> int:
        """Number of its training process on a host."""
        lines = {number: Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0") for number in host.alive()}
        return next(number for number, words in lines.items() if words[1:4] == [b"-u", b"-m", b"distalex.train"])

    @property
    def step(self) -> int:
        """The last step that it has logged."""
        return max((row["step"] for row in self.rows()), default=0)

    def wait(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until a condition holds; fails with the logs after so many seconds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "\n".join(path.read_text(errors="replace")[-2000:] for path in self.place.glob("*.log"))
            time.sleep(0.1)
