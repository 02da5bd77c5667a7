"""A trace of some training steps for Perfetto, and a table of where their time went: loading, layers, exchange, optimizer.

The table sets each layer's time against what the device allows, its arithmetic at the speed of matrix products or its
bytes at the speed of memory, whichever takes longer.
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

from distalex.train.roofline import Limits, Work, backward_work, forward_work, update_work

OPTIMIZER = "Optimizer.step"
SKIPPED = 3  # steps before the traced ones: compiling, first allocations, the profiler's own start


class Trace:
    """Watches the steps of a run; after the first few it records `steps` of them, in each process into a file of its own.

    Nothing is hooked before, nor once the recorded ones are over.
    """

    def __init__(
        self,
        steps: int,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        rank: int,
        device: torch.device,
        limits: Limits,
    ) -> None:
        self.steps, self.path, self.rank = steps, folder / f"trace-rank{rank}.json", rank
        self.net, self.optimizer, self.device, self.limits = net, optimizer, device, limits
        self.work: dict[str, Work] = defaultdict(Work)
        self.done = 0
        self.profiler: profile | None = None
        self.open: list[record_function] = []
        self.hooks: list[Any] = []

    def step(self) -> str | None:
        """Call after each step. Returns the table, once, in rank 0."""
        self.done += 1
        if self.done == SKIPPED:
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self.device.type == "cuda")
            os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # it reports missing GPUs as errors
            self.profiler = profile(activities=activities)
            self._name_layers()
            self.profiler.__enter__()
        elif self.done == SKIPPED + self.steps:
            return self._finish()
        return None

    def _finish(self) -> str | None:
        assert self.profiler is not None
        self._close()
        self.profiler.__exit__(None, None, None)
        for hook in self.hooks:
            hook.remove()
        self.profiler.export_chrome_trace(str(self.path))
        table = self._table() if self.rank == 0 else None
        self.profiler = None
        return table

    def _name_layers(self) -> None:
        self.hooks.append(self.optimizer.register_step_pre_hook(lambda *_: self._close()))
        self.hooks.append(self.optimizer.register_step_post_hook(lambda *_: self.work[OPTIMIZER].add(update_work(self.optimizer))))
        for name, layer in self.net.named_children():
            if isinstance(layer, nn.Identity):  # it hands on its input, whose gradient is another layer's
                continue
            self.hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: self._enter(name)))
            self.hooks.append(layer.register_forward_hook(partial(self._leave, name)))

    def _enter(self, name: str) -> None:
        if torch.is_grad_enabled():  # an evaluation between two steps has no names
            self._open(f"forward {name}")

    def _open(self, name: str) -> None:
        self._close()
        self.open.append(record_function(name))
        self.open[-1].__enter__()

    def _close(self) -> None:
        while self.open:
            self.open.pop().__exit__(None, None, None)

    def _leave(self, name: str, layer: nn.Module, given: Any, out: Any) -> None:
        """A layer's backward pass begins with the gradient of its output, and ends where that of the layer before it begins."""
        self._close()
        if not torch.is_grad_enabled():
            return
        inputs, outputs = _listed(given[0]), _listed(out)
        self.work[f"forward {name}"].add(forward_work(layer, inputs, outputs))
        asked = [tensor for tensor in outputs if tensor.requires_grad]
        if asked:
            self.work[f"backward {name}"].add(backward_work(layer, inputs, outputs))
        for tensor in asked:
            tensor.register_hook(lambda _: self._open(f"backward {name}"))

    def _table(self) -> str:
        """Milliseconds a step of everything that has a name, the largest first."""
        spent = self._on_host() if self.device.type == "cpu" else on_gpu(self.path)
        whole = sum(spent.values()) / 1e3 / self.steps
        rows = []
        for name, microseconds in sorted(spent.items(), key=lambda row: -row[1]):
            plain = name.removesuffix(".step").replace("Optimizer.step#", "optimizer ").replace("Optimizer.zero_grad#", "optimizer ")
            milliseconds = microseconds / 1e3 / self.steps
            row = f"  {plain:<28}{milliseconds:>9.2f} ms {100 * milliseconds / max(whole, 1e-9):>5.1f} %"
            work = self.work.get(OPTIMIZER if name.startswith(OPTIMIZER) else name)
            if work and microseconds:
                share, limit = work.share(self.limits, microseconds / 1e6)
                row += f"  {100 * share:>4.0f} % of {limit}"
            rows.append(row)
        where = "" if self.device.type == "cpu" else " of the GPU, which copies beside computing"
        head = f"{self.path}: {self.steps} steps traced; open it at ui.perfetto.dev. A step's {whole:.1f} ms{where}:"
        allowed = f"  here {self.limits.flops / 1e9:,.0f} GFLOP/s in matrix products and {self.limits.traffic / 1e9:,.1f} GB/s of memory"
        return "\n".join([head, *rows, allowed])

    def _on_host(self) -> dict[str, float]:
        assert self.profiler is not None
        named = ("forward ", "backward ", "loading", "waiting for ", OPTIMIZER)
        return {event.key: event.cpu_time_total for event in self.profiler.key_averages() if event.key.startswith(named)}


def _listed(tensors: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """One tensor, or on a GPU one for each column."""
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def on_gpu(trace: Path) -> dict[str, float]:
    """Microseconds that a GPU worked on what was launched under each name of a trace; `other` is what was under none."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    ranges: dict[Any, list[tuple[float, float, str]]] = defaultdict(list)
    launches: dict[int, tuple[Any, float]] = {}
    for event in events:
        if event.get("cat") == "user_annotation":
            ranges[event["tid"]].append((event["ts"], event["ts"] + event["dur"], event["name"]))
        elif event.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in event.get("args", {}):
            launches[event["args"]["correlation"]] = event["tid"], event["ts"]
    for named in ranges.values():
        named.sort()
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            thread, when = launches.get(event.get("args", {}).get("correlation"), (None, 0.0))
            spent[_innermost(ranges[thread], when)] += event["dur"]
    return dict(spent)


def _innermost(ranges: list[tuple[float, float, str]], when: float) -> str:
    """The name of the last of `ranges` to begin before `when` that has not ended then, as an exchange within a layer does; or `other`."""
    for number in range(bisect_right(ranges, (when, math.inf, "")) - 1, -1, -1):
        _, end, name = ranges[number]
        if when <= end:
            return name
    return "other"
