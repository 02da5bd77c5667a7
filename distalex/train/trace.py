"""`train.profile`: a trace of some training steps for Perfetto, and a table of the time of each layer, loading, exchange and optimizer.

The table compares each layer's time with the least that the device allows (roofline.py): its arithmetic at the speed of matrix
products, or its bytes at the speed of memory, whichever takes longer.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from distalex.train.roofline import DeviceSpeed, Work, backward_work, forward_work, update_work

OPTIMIZER = "Optimizer.step"
"""How PyTorch's names of an optimizer's step begin."""
SKIPPED = 3  # steps before the traced ones: they compile, allocate, and start the profiler


class Trace:
    """Traces `steps` steps of a run after the first few; each process writes FOLDER/trace-rankN.json.

    The network and the optimizer have hooks during the traced steps only.
    """

    def __init__(
        self,
        steps: int,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        rank: int,
        device: torch.device,
        speed: DeviceSpeed,
    ) -> None:
        """`net` and `optimizer` are those of the traced steps; `speed` is the measured speed of `device`, for the table."""
        self.steps, self.path, self.rank = steps, folder / f"trace-rank{rank}.json", rank
        self.net, self.optimizer, self.device, self.speed = net, optimizer, device, speed
        self.work: dict[str, Work] = defaultdict(Work)
        """Of all traced steps, by the name of the range in the trace."""
        self.done = 0
        """Steps so far."""
        self.profiler: profile | None = None
        self.range: record_function | None = None
        self.hooks: list[Any] = []

    def step(self) -> str | None:
        """Count a step; call it after each. Returns the table after the last traced step on rank 0, else None."""
        self.done += 1
        if self.done == SKIPPED:
            self._start()
        elif self.done == SKIPPED + self.steps:
            return self._finish()
        return None

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self.device.type == "cuda")
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # it reports missing GPUs as errors
        self.profiler = profile(activities=activities)
        self._add_hooks()
        self.profiler.__enter__()

    def _finish(self) -> str | None:
        assert self.profiler is not None
        self._end_range()
        self.profiler.__exit__(None, None, None)
        for hook in self.hooks:
            hook.remove()
        self.profiler.export_chrome_trace(str(self.path))
        table = self._table() if self.rank == 0 else None
        self.profiler = None
        return table

    def _add_hooks(self) -> None:
        """Name the range of every layer's passes; the profiler itself names the optimizer's step."""
        self.hooks.append(self.optimizer.register_step_pre_hook(lambda *_: self._end_range()))
        self.hooks.append(self.optimizer.register_step_post_hook(lambda *_: self.work[OPTIMIZER].add(update_work(self.optimizer))))
        for name, layer in self.net.named_children():
            if isinstance(layer, nn.Identity):  # its output is its input, whose gradient belongs to another layer
                continue
            self.hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: self._before_forward(name)))
            self.hooks.append(layer.register_forward_hook(partial(self._after_forward, name)))

    def _before_forward(self, name: str) -> None:
        if torch.is_grad_enabled():  # an evaluation between two steps is not named
            self._begin_range(f"forward {name}")

    def _after_forward(self, name: str, layer: nn.Module, arguments: Any, output: Any) -> None:
        """Count the layer's work, and begin its backward range where the gradient of its output is computed.

        The backward range of a layer ends when that of the previous layer starts.
        """
        self._end_range()
        if not torch.is_grad_enabled():
            return
        inputs, outputs = _as_list(arguments[0]), _as_list(output)
        self.work[f"forward {name}"].add(forward_work(layer, inputs, outputs))
        differentiable = [tensor for tensor in outputs if tensor.requires_grad]
        if differentiable:
            self.work[f"backward {name}"].add(backward_work(layer, inputs, outputs))
        for tensor in differentiable:
            tensor.register_hook(lambda _: self._begin_range(f"backward {name}"))

    def _begin_range(self, name: str) -> None:
        self._end_range()
        self.range = record_function(name)
        self.range.__enter__()

    def _end_range(self) -> None:
        if self.range is not None:
            self.range.__exit__(None, None, None)
            self.range = None

    def _table(self) -> str:
        """Milliseconds per step of every named range, the longest first."""
        spent = self._host_microseconds() if self.device.type == "cpu" else gpu_microseconds(self.path)
        whole = sum(spent.values()) / 1e3 / self.steps
        rows = []
        for name, microseconds in sorted(spent.items(), key=lambda row: -row[1]):
            plain = name.removesuffix(".step").replace("Optimizer.step#", "optimizer ").replace("Optimizer.zero_grad#", "optimizer ")
            milliseconds = microseconds / 1e3 / self.steps
            row = f"  {plain:<28}{milliseconds:>9.2f} ms {100 * milliseconds / max(whole, 1e-9):>5.1f} %"
            work = self.work.get(OPTIMIZER if name.startswith(OPTIMIZER) else name)
            if work and microseconds:
                share, limit = work.share(self.speed, microseconds / 1e6)
                row += f"  {100 * share:>4.0f} % of {limit}"
            rows.append(row)
        where = "" if self.device.type == "cpu" else " of GPU time, where copies overlap with computing"
        head = f"{self.path}: {self.steps} steps traced; open it at ui.perfetto.dev. Of {whole:.1f} ms per step{where}:"
        speeds = f"{self.speed.flops / 1e9:,.0f} GFLOP/s in matrix products, {self.speed.bandwidth / 1e9:,.1f} GB/s of memory"
        return "\n".join([head, *rows, f"  measured here: {speeds}"])

    def _host_microseconds(self) -> dict[str, float]:
        assert self.profiler is not None
        named = ("forward ", "backward ", "loading", "waiting for ", OPTIMIZER)
        return {event.key: event.cpu_time_total for event in self.profiler.key_averages() if event.key.startswith(named)}


def _as_list(tensors: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """A layer's input or output as a list: one tensor, or one for each column where a GPU holds several."""
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def gpu_microseconds(trace: Path) -> dict[str, float]:
    """Microseconds of GPU work by the name of the range that launched it, from a trace file; `other` was launched outside of any range."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    ranges: dict[Any, list[tuple[float, float, str]]] = defaultdict(list)
    launches: dict[int, tuple[Any, float]] = {}
    for event in events:
        if event.get("cat") == "user_annotation":
            ranges[event["tid"]].append((event["ts"], event["ts"] + event["dur"], event["name"]))
        elif event.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in event.get("args", {}):
            launches[event["args"]["correlation"]] = event["tid"], event["ts"]
    for of_thread in ranges.values():
        of_thread.sort()
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            thread, when = launches.get(event.get("args", {}).get("correlation"), (None, 0.0))
            spent[_innermost(ranges[thread], when)] += event["dur"]
    return dict(spent)


def _innermost(ranges: list[tuple[float, float, str]], when: float) -> str:
    """The name of the innermost of sorted (start, end, name) `ranges` around `when`, or `other`; an exchange lies within a layer."""
    for number in range(bisect_right(ranges, (when, math.inf, "")) - 1, -1, -1):
        _, end, name = ranges[number]
        if when <= end:
            return name
    return "other"
