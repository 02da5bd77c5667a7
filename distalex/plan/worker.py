"""A process that measures this machine: seconds of each layer while the other processes compute too, and the links between them.

Run as `python -m distalex.plan.worker JSON`; process 0 prints the measurement as JSON.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distalex.config.config import Config
from distalex.machine.resources import keep_freed_memory
from distalex.machine.speed import matmul_peak
from distalex.model.dropout import KeyedDropout
from distalex.model.lrn import LocalResponseNorm
from distalex.model.network import build_given, build_network
from distalex.optim.optimizer import find_optimizer
from distalex.plan.layers import layers_of
from distalex.plan.machine import Timing
from distalex.shares import share

REPEATS = 3
FORWARD_SECONDS = 0.5  # seconds, roughly, of a forward pass on the larger batch
MAX_FORWARD_FLOP = 92e9  # FLOP of a forward pass at most
UPDATED = 1 << 24  # parameters of the timed optimizer step
SMALL, LARGE = 1 << 10, 1 << 22  # fp32 numbers of an exchange; the larger is about the size of a gradient bucket


class Worker:
    """A process among several that run the same measurement at the same time.

    Args:
        task: `rank`, `processes`, `device`, `threads` and `store`, a file through which the processes meet.
    """

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
        """Return the seconds of each of `works`, run in this order by all processes at once: the least of some repeats after a warm-up."""
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

    def slowest(self, speed: float) -> float:
        """Return the lowest `speed` of all processes."""
        lowest = torch.tensor(speed, dtype=torch.float64, device=self.device)
        if self.processes > 1:
            dist.all_reduce(lowest, dist.ReduceOp.MIN)
        return float(lowest)

    def synchronize(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def batches_to_time(macs: int, flops: float) -> list[int]:
    """Return two batch sizes to time for a network of `macs` per image on a device of `flops` per second."""
    large = min(256, max(16, int(min(MAX_FORWARD_FLOP, FORWARD_SECONDS * flops) / (2 * macs))))
    return [large // 4, large]


def time_layers(worker: Worker, config: Config, classes: int, all_parts: list[int], sizes: list[int]) -> dict[str, Timing]:
    """Time every layer at two batch `sizes`, divided among each number of devices in `all_parts` that can divide it."""
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    with torch.device("meta"):
        net = build_network(config.model, classes, config.data.image_size)
        inputs = torch.empty(1, 3, config.data.image_size, config.data.image_size)
        if net.is_given:
            return _time_whole(worker, config, classes, sizes, dtype)
        whole = {}
        for name, stage in net.stages().items():
            whole[name] = (stage, inputs.shape[1:])
            inputs = stage(inputs)
    timings = {}
    for name, (stage, shape) in whole.items():
        convolves = isinstance(stage[0], nn.Conv2d)
        # A fully connected layer spends its time on weights unless a batch is large.
        batches = sizes if convolves else [4 * size for size in sizes]
        for parts in all_parts:
            if convolves and config.model.columns % parts:
                continue  # only the columns divide convolutions
            part, channels = _part(stage, config.model.columns, parts, worker.device)
            rows = [
                _time_stage(worker, part, _inputs(images, channels, shape, worker, name == net.first_layer, dtype), dtype)
                for images in batches
            ]
            timings[f"{name}/{parts}"] = _through(batches, rows)
    return timings


def _time_whole(worker: Worker, config: Config, classes: int, sizes: list[int], dtype: torch.dtype) -> dict[str, Timing]:
    """Time a network that is not a chain as a whole, and share its seconds among its layers by their multiplications."""
    side, layers = config.data.image_size, layers_of(config.model, classes, config.data.image_size, config.train.precision)
    with torch.device("cpu"):
        net = build_given(config.model, classes, side, 0)
        net.to(device=worker.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = [
        _time_stage(worker, nn.Sequential(FirstOf(), net), _inputs(images, [3], torch.Size((3, side, side)), worker, True, dtype), dtype)
        for images in sizes
    ]
    whole, macs = _through(sizes, rows), sum(layer.macs for layer in layers)
    return {f"{layer.name}/1": Timing(*(seconds * layer.macs / macs for seconds in whole)) for layer in layers}


class FirstOf(nn.Module):
    """Take the one tensor out of a tuple."""

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the first of `inputs`."""
        return inputs[0]


class InPieces(nn.Module):
    """A layer that computes a separate product for each device's slice of the input.

    Args:
        pieces: the layer's part for each device's inputs.
    """

    def __init__(self, pieces: list[nn.Module]) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of the products with each device's inputs."""
        first, *others = [piece(x) for piece, x in zip(self.pieces, inputs, strict=True)]
        for other in others:
            first += other
        return first


def _part(stage: nn.Sequential, columns: int, parts: int, device: torch.device) -> tuple[nn.Sequential, list[int]]:
    """Return the last of `parts` devices' part of a stage, with random weights, and the channels of each piece of its input."""
    first = stage[0]
    assert isinstance(first, nn.Conv2d | nn.Linear)
    inputs = first.in_channels if isinstance(first, nn.Conv2d) else first.in_features
    own = isinstance(first, nn.Conv2d) and first.groups > 1
    with torch.device("meta"):
        if own or inputs == 3:  # inputs of its column, or the image
            channels = [inputs // parts if own else inputs]
        else:
            channels = [len(range(inputs)[share(inputs, number, parts)]) for number in range(parts)]
        pieces = [_piece(first, count, parts, bias=number == 0) for number, count in enumerate(channels)]
    part = nn.Sequential(InPieces(pieces), *copy.deepcopy(list(stage[1:]))).to_empty(device=device)
    for module in part.modules():
        if isinstance(module, LocalResponseNorm):
            module.columns = max(1, columns // parts)
        if isinstance(module, KeyedDropout):
            module.draw.zero_()
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.01)
    return part.to(memory_format=torch.channels_last), channels  # type: ignore[call-overload]


def _piece(whole: nn.Conv2d | nn.Linear, inputs: int, parts: int, bias: bool) -> nn.Module:
    if isinstance(whole, nn.Conv2d):
        groups = whole.groups // parts if whole.groups > 1 else 1
        places = whole.kernel_size, whole.stride, whole.padding
        return nn.Conv2d(inputs, whole.out_channels // parts, *places, groups=groups, bias=bias)  # type: ignore[arg-type]
    return nn.Linear(inputs, len(range(whole.out_features)[share(whole.out_features, parts - 1, parts)]), bias=bias)


def _inputs(images: int, channels: list[int], shape: torch.Size, worker: Worker, is_image: bool, dtype: torch.dtype) -> tuple[Tensor, ...]:
    pieces = [torch.randn(images, count, *shape[1:], device=worker.device, dtype=dtype) for count in channels]
    if len(shape) == 3:
        pieces = [piece.contiguous(memory_format=torch.channels_last) for piece in pieces]
    return tuple(piece.requires_grad_(not is_image) for piece in pieces)


def _time_stage(worker: Worker, stage: nn.Sequential, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> list[float]:
    """Return the seconds of the forward and the backward pass."""
    wanted = [tensor for tensor in (*inputs, *stage.parameters()) if tensor.requires_grad]
    outputs: list[Tensor] = []

    def forward() -> None:
        with torch.autocast(worker.device.type, dtype, enabled=dtype != torch.float32):
            outputs[:] = [stage(inputs)]

    forward()
    gradient = torch.ones_like(outputs.pop())
    return worker.time(forward, lambda: torch.autograd.grad(outputs.pop(), wanted, gradient))


def _through(sizes: list[int], seconds: list[list[float]]) -> Timing:
    """Return lines through the times at two batch sizes that neither fall nor start below 0."""
    small, large = sizes
    lines = []
    for at_small, at_large in zip(*seconds, strict=True):
        slope = min((at_large - at_small) / (large - small), at_large / large)
        slope = slope if slope > 0 else at_large / large
        lines += [at_large - slope * large, slope]
    return Timing(*lines)


def time_update(worker: Worker) -> float:
    """Return memory bandwidth in bytes per second, measured by a fused SGD step."""
    parameter = torch.zeros(UPDATED, device=worker.device, requires_grad=True)
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.SGD([parameter], lr=1e-3, momentum=0.9, fused=True)
    return find_optimizer("sgd").UPDATE_BYTES * UPDATED / worker.time(optimizer.step)[0]


def time_links(worker: Worker) -> dict[str, Any]:
    """Return latency (seconds) and bandwidth (bytes per second) of each collective, and how much of one overlaps with compute."""
    devices = worker.processes
    seconds = {}
    for size in (SMALL, LARGE):
        gathered, sending = (torch.zeros(size * devices, device=worker.device) for _ in range(2))
        reduced = torch.zeros(size, device=worker.device)
        shares = list(torch.zeros(size // devices * devices, device=worker.device).chunk(devices))
        seconds["gather", size] = worker.time(lambda: dist.all_to_all_single(gathered, sending))[0]  # noqa: B023
        seconds["reduce", size] = worker.time(lambda: dist.all_reduce(reduced))[0]  # noqa: B023
        seconds["scatter", size] = worker.time(lambda: dist.reduce_scatter(shares[0], shares))[0]  # noqa: B023
    hops = (devices - 1).bit_length()
    sent = {
        "gather": 4 * (devices - 1),
        "reduce": 8 * (devices - 1) / devices,
        "scatter": 4 * (devices - 1) / devices,
    }  # bytes for each number exchanged
    links = {}
    for kind, steps in (("gather", hops), ("reduce", 2 * hops), ("scatter", hops)):
        bandwidth = sent[kind] * (LARGE - SMALL) / max(1e-9, seconds[kind, LARGE] - seconds[kind, SMALL])
        links[kind] = [max(0.0, seconds[kind, SMALL] - sent[kind] * SMALL / bandwidth) / steps, bandwidth]
    return {**links, "overlap": _time_overlap(worker, seconds["reduce", LARGE])}


def _time_overlap(worker: Worker, exchange: float) -> float:
    """Return the share of an all-reduce that overlaps with matrix products that take about as long."""
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
    """Measure this machine; return the means over the processes in process 0, None in the others."""
    torch.manual_seed(0)
    worker = Worker(task)
    options = Config.model_validate(task["config"])
    peak = matmul_peak(worker.device, torch.bfloat16 if options.train.precision == "bf16" else torch.float32)
    sizes = batches_to_time(task["macs"], worker.slowest(peak))
    found: dict[str, Any] = {
        "memory_bandwidth": time_update(worker),
        "timings": time_layers(worker, options, task["classes"], task["parts"], sizes),
    }
    if worker.processes == 1:
        return found
    found.update(time_links(worker))
    everyone: list[Any] = [None] * worker.processes
    dist.all_gather_object(everyone, found)
    dist.barrier()
    if worker.rank:
        return None
    timings = {
        name: Timing(*map(statistics.mean, zip(*(one["timings"][name] for one in everyone), strict=True))) for name in found["timings"]
    }
    return {**found, "timings": timings, "memory_bandwidth": statistics.mean(one["memory_bandwidth"] for one in everyone)}


if __name__ == "__main__":
    result = measure(json.loads(sys.argv[1]))
    if result is not None:
        print(json.dumps(result), flush=True)
    os._exit(0)  # as `_leave` of cli/main.py does
