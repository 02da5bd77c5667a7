"""Differences of two runs: of each logged step and evaluation, and of each tensor of two checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distalex.compare.runs import Rows
from distalex.runs.metrics import finite

MEASURES = {"train": ("loss", "top1", "lr"), "eval": ("loss", "top1", "top5", "count")}
"""Fields of metrics.jsonl that are compared, by kind of row."""


@dataclass(frozen=True)
class ComparedRow:
    """One row of metrics.jsonl that both runs have."""

    kind: str
    step: int
    values: dict[str, tuple[float | None, float | None]]
    """Both runs' values, by measure; None where not finite."""

    def differences(self) -> dict[str, float]:
        """How far the two values of each measure are apart (see `difference`), by measure."""
        return {measure: difference(measure, *pair) for measure, pair in self.values.items()}

    def differs(self, tolerance: float) -> str | None:
        """Return the first measure that differs by more than `tolerance`, or None."""
        return next((measure for measure, size in self.differences().items() if size > tolerance), None)


@dataclass(frozen=True)
class ComparedTensor:
    """One tensor of two checkpoints."""

    group: str
    """`model`, `average` or `optimizer`."""
    name: str
    difference: float
    """Largest absolute difference of an element; infinite where shapes differ or a checkpoint lacks the tensor."""
    where: str
    """Index of the largest difference and the two values there, or why there is none."""


def compare_curves(kind: str, run: Rows, other: Rows) -> list[ComparedRow]:
    """Compare the rows of `kind` at the steps that both runs have, in order of steps."""
    steps = sorted(run.keys() & other.keys())
    return [
        ComparedRow(kind, step, {key: (finite(run[step].get(key)), finite(other[step].get(key))) for key in MEASURES[kind]})
        for step in steps
    ]


def difference(measure: str, one: float | None, other: float | None) -> float:
    """Return how far two values are apart: percents as fractions, learning rates relative to the larger, others absolute.

    Two values that are not finite are equal; one of them is infinitely far from a number.
    """
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    unit = {"top1": 100.0, "top5": 100.0, "lr": max(abs(one), abs(other)) or 1.0}.get(measure, 1.0)
    return abs(one - other) / unit


def compare_states(run: dict[str, Any], other: dict[str, Any]) -> list[ComparedTensor]:
    """Compare two checkpoints: weights, their moving average and the optimizer's state, each in network order."""
    ours, theirs = (dict(tensors_of(state)) for state in (run, other))
    shorter, longer = sorted((ours, theirs), key=len)  # the order is that of the one with more tensors
    keys = [*longer, *(key for key in shorter if key not in longer)]
    order = {group: rank for rank, group in enumerate(("model", "average", "optimizer"))}
    return [compare_tensors(*key, ours.get(key), theirs.get(key)) for key in sorted(keys, key=lambda key: order[key[0]])]


def tensors_of(state: dict[str, Any]) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Yield every tensor of a checkpoint with its group and name."""
    for group in ("model", "average"):
        for name, value in (state.get(group) or {}).items():
            yield (group, name), value
    for name, values in (state.get("optimizer") or {}).items():
        for key, value in values.items():
            yield ("optimizer", f"{name} {key}"), torch.as_tensor(value)


def compare_tensors(group: str, name: str, one: Tensor | None, other: Tensor | None) -> ComparedTensor:
    """Compare two tensors of any shape; elements that are both NaN, or the same infinity, are equal."""
    if one is None or other is None:
        return ComparedTensor(group, name, math.inf, f"only in the {'run' if other is None else 'other'}")
    if one.shape != other.shape:
        return ComparedTensor(group, name, math.inf, f"shape {tuple(one.shape)} / {tuple(other.shape)}")
    one, other = one.double(), other.double()
    apart = (one - other).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    apart[(one == other) | (one.isnan() & other.isnan())] = 0.0
    if not apart.numel():
        return ComparedTensor(group, name, 0.0, "empty")
    flat = int(apart.argmax())
    index = [int(place) for place in torch.unravel_index(torch.tensor(flat), apart.shape)]
    values = f"{float(one.flatten()[flat]):.7g} / {float(other.flatten()[flat]):.7g}"
    return ComparedTensor(group, name, float(apart.flatten()[flat]), f"{index} {values}" if index else values)
