"""One of several processes that measure a machine together: what each layer takes while the others compute too, and links.

A program of its own: `python -m distalex.plan.worker JSON`; process 0 prints the measurement as JSON.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distalex import config
from distalex.distributed import keep_freed_memory
from distalex.lrn import LocalResponseNorm
from distalex.model import AlexNet, KeyedDropout
from distalex.plan.layers import stages
from distalex.plan.machine import Timing
from distalex.topology import share

REPEATS = 3
UPDATED = 1 << 24  # parameters of the trial optimizer step
SMALL, LARGE = 1 << 10, 1 << 22  # fp32 numbers of an exchange; the large one is a bucket's order of size


class Worker:
    """A process among `processes` that do the same thing at the same time."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.rank, self.processes = task["rank"], task["processes"]
        self.device = torch.device("cuda", self.rank) if task["device"] == "cuda" else torch.device("cpu")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        else:
            torch.set_num_threads(task["threads"])
            keep_freed_memory()
        if self.processes > 1:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, init_method=f"file://{task['store']}", rank=self.rank, world_size=self.processes)

    def time(self, *works: Callable[[], Any]) -> list[float]:
        """Seconds of each of `works`, done in this order by all processes at once: the least of a few, after one that warms up."""
        seconds: list[list[float]] = []
        for _ in range(REPEATS + 1):
            if self.processes > 1:
                dist.barrier()
            row = []
            for work in works:
                self.synchronize()
                start = time.perf_counter()
                work()
                self.synchronize()
                row.append(time.perf_counter() - start)
            seconds.append(row)
        return [min(column) for column in zip(*seconds[1:], strict=True)]

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def time_layers(worker: Worker, options: config.Config, classes: int, all_parts: list[int], sizes: list[int]) -> dict[str, Timing]:
    """Every layer, divided among each count of `all_parts` devices that can divide it, at two batch `sizes`."""
    dtype = torch.bfloat16 if options.train.precision == "bf16" else torch.float32
    with torch.device("meta"):
        net = AlexNet(options.model, classes, options.data.image_size)
        inputs = torch.empty(1, 3, options.data.image_size, options.data.image_size)
        whole = {}
        for name, stage in stages(net).items():
            whole[name] = (stage, inputs.shape[1:])
            inputs = stage(inputs)
    timings = {}
    for name, (stage, shape) in whole.items():
        for parts in all_parts:
            if name.startswith("conv") and options.model.columns % parts:
                continue  # only the columns divide convolutions
            part, channels = _part(stage, options.model.columns, parts, worker.device)
            rows = []
            for pictures in sizes:
                x = torch.randn(pictures, channels, *shape[1:], device=worker.device, dtype=dtype)
                x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
                rows.append(_time_stage(worker, part, x.requires_grad_(name != "conv1"), dtype))
            timings[f"{name}/{parts}"] = _through(sizes, rows)
    return timings


def _part(stage: nn.Sequential, columns: int, parts: int, device: torch.device) -> tuple[nn.Sequential, int]:
    """The first of `parts` devices' part of a stage, with small random weights, and how many channels it reads."""
    first = stage[0]
    with torch.device("meta"):
        if isinstance(first, nn.Conv2d):
            own = first.groups > 1
            channels = first.in_channels // parts if own else first.in_channels
            layer: nn.Module = nn.Conv2d(
                channels,
                first.out_channels // parts,
                first.kernel_size,  # type: ignore[arg-type]
                first.stride,  # type: ignore[arg-type]
                first.padding,  # type: ignore[arg-type]
                groups=first.groups // parts if own else 1,
            )
        else:
            assert isinstance(first, nn.Linear)
            channels, rows = first.in_features, share(first.out_features, parts - 1, parts)
            layer = nn.Linear(channels, rows.stop - rows.start)
    part = nn.Sequential(layer, *copy.deepcopy(list(stage[1:]))).to_empty(device=device)
    for module in part.modules():
        if isinstance(module, LocalResponseNorm):
            module.columns = max(1, columns // parts)
        if isinstance(module, KeyedDropout):
            module.draw.zero_()
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.01)
    return part.to(memory_format=torch.channels_last), channels


def _time_stage(worker: Worker, stage: nn.Sequential, x: Tensor, dtype: torch.dtype) -> list[float]:
    """Seconds of the forward and of the backward pass."""
    wanted = [tensor for tensor in (x, *stage.parameters()) if tensor.requires_grad]
    outputs: list[Tensor] = []
    with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        gradient = torch.ones_like(stage(x))

    def forward() -> None:
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            outputs[:] = [stage(x)]

    return worker.time(forward, lambda: torch.autograd.grad(outputs.pop(), wanted, gradient))


def _through(sizes: list[int], seconds: list[list[float]]) -> Timing:
    """The lines through the times at two batch sizes; none that falls, nor one that starts below 0."""
    small, large = sizes
    lines = []
    for at_small, at_large in zip(*seconds, strict=True):
        slope = min((at_large - at_small) / (large - small), at_large / large)
        slope = slope if slope > 0 else at_large / large
        lines += [at_large - slope * large, slope]
    return Timing(*lines)


def time_update(worker: Worker) -> float:
    """Bytes per second of memory, of a fused SGD step: it reads weight, gradient and momentum and writes two of them."""
    parameter = torch.zeros(UPDATED, device=worker.device, requires_grad=True)
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.SGD([parameter], lr=1e-3, momentum=0.9, fused=True)
    return 20 * UPDATED / worker.time(optimizer.step)[0]


def time_links(worker: Worker) -> dict[str, Any]:
    """Latency (seconds) and bandwidth (bytes per second) of each exchange, and how much of one hides behind compute."""
    devices = worker.processes
    seconds = {}
    for size in (SMALL, LARGE):
        gathered = torch.zeros(size * devices, device=worker.device)
        sending = torch.zeros(size * devices, device=worker.device)
        seconds["gather", size] = worker.time(lambda: dist.all_to_all_single(gathered, sending))[0]  # noqa: B023
        seconds["reduce", size] = worker.time(lambda: dist.all_reduce(sending))[0]  # noqa: B023
    hops = (devices - 1).bit_length()
    sent = {"gather": 4 * (devices - 1), "reduce": 8 * (devices - 1) / devices}  # bytes for each number
    links = {}
    for kind, steps in (("gather", hops), ("reduce", 2 * hops)):
        bandwidth = sent[kind] * (LARGE - SMALL) / max(1e-9, seconds[kind, LARGE] - seconds[kind, SMALL])
        links[kind] = [max(0.0, seconds[kind, SMALL] - sent[kind] * SMALL / bandwidth) / steps, bandwidth]
    return {**links, "overlap": _time_overlap(worker, seconds["reduce", LARGE])}


def _time_overlap(worker: Worker, exchange: float) -> float:
    """Share of an exchange that costs nothing while the processor multiplies matrices for about as long."""
    matrix = torch.randn(1024, 1024, device=worker.device)
    product = worker.time(lambda: matrix @ matrix)[0]
    count = max(1, round(exchange / product))
    buffer = torch.zeros(LARGE, device=worker.device)

    def compute() -> None:
        for _ in range(count):
            matrix @ matrix

    def both() -> None:
        work = dist.all_reduce(buffer, async_op=True)
        compute()
        work.wait()

    alone, together = worker.time(compute)[0], worker.time(both)[0]
    return min(1.0, max(0.0, (alone + exchange - together) / min(alone, exchange)))


def measure(task: dict[str, Any]) -> dict[str, Any] | None:
    """What process 0 found, of the slowest process where they differ; None in the others."""
    torch.manual_seed(0)
    worker = Worker(task)
    options = config.Config.model_validate(task["config"])
    found: dict[str, Any] = {
        "memory_bandwidth": time_update(worker),
        "timings": time_layers(worker, options, task["classes"], task["parts"], task["sizes"]),
    }
    if worker.processes == 1:
        return found
    found.update(time_links(worker))
    everyone: list[Any] = [None] * worker.processes
    dist.all_gather_object(everyone, found)
    dist.destroy_process_group()
    if worker.rank:
        return None
    timings = {name: Timing(*map(statistics.mean, zip(*(one["timings"][name] for one in everyone), strict=True))) for name in found["timings"]}
    return {**found, "timings": timings, "memory_bandwidth": statistics.mean(one["memory_bandwidth"] for one in everyone)}


if __name__ == "__main__":
    result = measure(json.loads(sys.argv[1]))
    if result is not None:
        print(json.dumps(result))
