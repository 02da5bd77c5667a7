"""Train with processes that share one GPU and talk over gloo.

A program of its own, `torchrun … -m distalex.bench.one_gpu --OPTION=VALUE …`. distalex gives each process a GPU of its own and joins them
by NCCL, which refuses to share one.
"""

from __future__ import annotations

import runpy
from typing import Any

import torch
import torch.distributed as dist

from distalex.parallel import start

join, barrier = dist.init_process_group, dist.barrier


def _first_gpu(*_: Any) -> torch.device:
    torch.cuda.set_device(0)
    return torch.device("cuda", 0)


def _join_by_gloo(backend: str, device_id: Any = None, **options: Any) -> None:
    join("gloo", **options)


def _wait(*arguments: Any, device_ids: Any = None, **options: Any) -> Any:
    return barrier(*arguments, **options)


if __name__ == "__main__":
    for module, name, instead in (
        (start, "choose_device", _first_gpu),
        (dist, "init_process_group", _join_by_gloo),
        (dist, "barrier", _wait),
    ):
        setattr(module, name, instead)
    runpy.run_module("distalex.train", run_name="__main__")
