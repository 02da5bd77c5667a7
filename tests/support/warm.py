"""`python -m distalex.MODULE`, alone or under torchrun, forked from a process that has imported everything.

Starting Python and importing PyTorch takes longer than most runs of the tests. What differs from a start from nothing: the
modules are there, all processes hash strings alike, and torchrun's agent forks its workers. test_cli, test_faults and
gradients.py start from nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

IMPORTED = [
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


def run(
    module: str, arguments: Sequence[str], processes: int, folder: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run gives it, with the processes and all that they have started killed after `timeout` seconds."""
    outputs = [folder / f".{uuid4().hex}" for _ in range(2)]
    for path in outputs:
        path.touch()
    process = multiprocessing.get_context("forkserver").Process(
        target=_become, args=(module, tuple(arguments), processes, str(folder), environment, *map(str, outputs))
    )
    process.start()
    try:
        process.join(timeout)
    finally:
        is_late = process.exitcode is None
        if is_late:
            _kill(process)
        stdout, stderr = (path.read_text() for path in outputs)
        for path in outputs:
            path.unlink()
    if is_late:
        raise subprocess.TimeoutExpired([module, *arguments], timeout, stdout, stderr)
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, stdout, stderr)


def _kill(process: BaseProcess) -> None:
    """With its group, if it has made one already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _become(module: str, arguments: tuple[str, ...], processes: int, folder: str, environment: dict[str, str], *outputs: str) -> None:
    os.setsid()
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        status = _command(module, arguments) if processes == 1 else _torchrun(module, arguments, processes)
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


def _torchrun(module: str, arguments: tuple[str, ...], processes: int) -> int:
    """As `torchrun --standalone` does it."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    place: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": uuid4().hex}
    options = LaunchConfig(1, 1, processes, start_method="fork", max_restarts=0, monitor_interval=0.1, **place)
    try:
        elastic_launch(options, _rank)(module, arguments)
    except ChildFailedError as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def _rank(module: str, arguments: tuple[str, ...]) -> None:
    status = _command(module, arguments)
    if status:
        _end(status)
