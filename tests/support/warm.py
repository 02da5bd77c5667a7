"""`python -m distalex.MODULE`, alone or under torchrun, forked from a process that has imported everything.

Starting Python and importing PyTorch takes longer than most runs of the tests. What differs from a start from nothing: the
modules are there, the matmul peak is measured, all processes hash strings alike, and torchrun's agent forks its workers.
These start from nothing: cli/test_processes.py, parallel/gradients.py, the quickstart, a run under torchrun that loses a rank
(train/test_killed.py), and one that SIGTERM stops (train/test_resume.py).
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from uuid import uuid4

from distalex.bench.programs import run_to_end
from distalex.cli.commands import COMMANDS

ONE_AT_A_TIME = threading.Lock()  # as multiprocessing, starting a process in one thread, takes the status of another one's
RANKS = "DISTALEX_TEST_RANKS"  # in a job's environment: where each of its ranks writes its process number
IMPORTED = [
    "support.measured",
    *("torch.distributed.run", "torch.distributed.elastic.rendezvous.c10d_rendezvous_backend"),
    *("torch._dynamo", "numba", "ffcv", "fire", "sklearn.datasets"),
    *(
        f"distalex.{room}"
        for room in (
            "cli.main",
            "train.loop",
            "evaluate.evaluation",
            "predict.work",
            "prepare.work",
            "kernels.lrn_numba",
            "kernels.crops_numba",
            "data.beton.loader",
        )
    ),
]


def start_server() -> None:
    """With the environment of this moment, in which each process is forked later."""
    multiprocessing.set_forkserver_preload(IMPORTED)
    forkserver.ensure_running()


class Job:
    """A command that runs, with the methods of subprocess.Popen; it leads a process group of its own, torchrun's workers included."""

    def __init__(
        self, module: str, arguments: Sequence[str], processes: int, folder: Path, environment: dict[str, str], restarts: int = 0
    ) -> None:
        self.args = [module, *arguments]
        self.outputs = [folder / f".{uuid4().hex}" for _ in range(2)]
        for path in self.outputs:
            path.touch()
        environment = {**environment, RANKS: str(self.outputs[0])}
        self.process: Any = multiprocessing.get_context("forkserver").Process(
            target=_become, args=(module, tuple(arguments), processes, str(folder), environment, restarts, *map(str, self.outputs))
        )
        self.process.start()
        self.pid: int = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit status; after `timeout` seconds all of it is killed and subprocess.TimeoutExpired raised."""
        self.process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout, *self.printed)
        return self.returncode

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        self.wait(timeout)
        return self.printed

    @property
    def printed(self) -> tuple[str, str]:
        """Standard output and error so far."""
        stdout, stderr = (path.read_text() for path in self.outputs)
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill_rank(self, rank: int) -> None:
        """`kill -9` of one of the processes that torchrun's agent started last."""
        os.kill(int(Path(f"{self.outputs[0]}.{rank}").read_text()), signal.SIGKILL)

    def kill(self) -> None:
        """All of it, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # where it has made its group already
        self.process.kill()
        self.process.join()


def run(
    module: str, arguments: Sequence[str], processes: int, folder: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run gives it, with the processes and all that they have started killed after `timeout` seconds."""
    job = Job(module, arguments, processes, folder, environment)
    try:
        status = job.wait(timeout)
        return subprocess.CompletedProcess(job.args, status, *job.printed)
    finally:
        if job.poll() is None:
            job.kill()
        for path in job.outputs:
            for left in (path, *folder.glob(f"{path.name}.*")):
                left.unlink()


def run_words(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As `python WORDS` gives it, where that is `-m distalex.COMMAND`, alone or under torchrun; anything else starts from nothing."""
    processes, own = 1, list(words)
    if own[:2] == ["-m", "torch.distributed.run"]:
        processes = next(int(word.partition("=")[2]) for word in own if word.startswith("--nproc_per_node="))
        own = own[own.index("-m", 2) :]
    _, _, command = own[1].partition("distalex.")
    if command not in COMMANDS:  # peers of ours
        return run_to_end(words, environment)
    with ONE_AT_A_TIME:
        return run(command, own[2:], processes, Path.cwd(), dict(environment), 300)


def _become(
    module: str, arguments: tuple[str, ...], processes: int, folder: str, environment: dict[str, str], restarts: int, *outputs: str
) -> None:
    os.setsid()
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        status = _command(module, arguments) if processes == 1 else _torchrun(module, arguments, processes, restarts)
    except BaseException:
        traceback.print_exc()
        status = 1
    _end(status)


def _end(status: int) -> None:
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _command(module: str, arguments: tuple[str, ...]) -> int:
    import torch

    from distalex.cli.main import main

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    sys.argv = [f"{module}.py", *arguments]
    try:
        return main([module, *arguments])
    except SystemExit as leaving:  # of a signal's handler
        return int(leaving.code or 0)


def _torchrun(module: str, arguments: tuple[str, ...], processes: int, restarts: int) -> int:
    """As `torchrun --standalone --max_restarts=RESTARTS` does it."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    place: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": uuid4().hex}
    options = LaunchConfig(1, 1, processes, start_method="fork", max_restarts=restarts, monitor_interval=0.1, **place)
    try:
        elastic_launch(options, _rank)(module, arguments)
    except ChildFailedError as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def _rank(module: str, arguments: tuple[str, ...]) -> None:
    Path(f"{os.environ[RANKS]}.{os.environ['RANK']}").write_text(str(os.getpid()))
    status = _command(module, arguments)
    if status:
        _end(status)
