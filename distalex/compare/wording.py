"""The output of `compare`: tables, the first differences, and a summary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from distalex.compare.differences import ComparedRow, ComparedTensor
from distalex.compare.runs import ComparedRun
from distalex.config.config import LABELS
from distalex.config.schema import shown_value
from distalex.console import aligned, counted
from distalex.runs.resuming import MAY_CHANGE

KIND_NAMES = {"train": "step", "eval": "evaluation"}
ROWS = 20
"""Most rows of a table."""


def describe_runs(run: ComparedRun, other: ComparedRun) -> Iterator[str]:
    """Yield lines: what is compared, which options differ, and which steps only one run has."""
    yield f"run    {run.describe()}"
    yield f"other  {other.describe()}"
    if run.options and other.options:
        keys = [key for key in {**run.options, **other.options} if key not in LABELS]
        pairs = {key: [shown_value(one.options.get(key, "absent")) for one in (run, other)] for key in keys}
        listed = "; ".join(f"{key} {' / '.join(pair)}" for key, pair in pairs.items() if pair[0] != pair[1])
        yield f"options that differ: {listed or 'none'}"
    for kind, called in KIND_NAMES.items():
        for one, rest in ((run, other), (other, run)):
            only = sorted(one.curves[kind].keys() - rest.curves[kind].keys())
            if only and rest.curves[kind]:
                steps = f"step {only[0]}" if len(only) == 1 else f"steps {only[0]} to {only[-1]}"
                yield f"only in {one.place}: {counted(len(only), called)} ({steps})"


def describe_rows(compared: Sequence[ComparedRow], tolerance: float) -> Iterator[str]:
    """Yield a table for each kind of row: both losses and top-1, the difference of the losses, and a mark where a row differs."""
    for kind, called in KIND_NAMES.items():
        rows = [row for row in compared if row.kind == kind]
        if not rows:
            yield f"{called}s are not compared: no step in common"
            continue
        lines: list[tuple[str, ...]] = [(called, "loss of run", "of other", "difference", "top-1 of run", "of other", "")]
        for place in excerpt([row.differs(tolerance) is not None for row in rows]):
            row = rows[place]
            loss, top1 = ([_plain(value) for value in row.values[key]] for key in ("loss", "top1"))
            measure = row.differs(tolerance)
            lines.append((str(row.step), *loss, _size(row.differences()["loss"]), *top1, f"< {measure}" if measure else ""))
        yield aligned(lines, left=(-1,))
        if len(lines) - 1 < len(rows):
            yield f"({len(lines) - 1} of {counted(len(rows), called)} shown)"


def describe_tensors(tensors: Sequence[ComparedTensor], step: int | None, tolerance: float) -> Iterator[str]:
    """Yield a table of the weights, and a line each for their moving average and the optimizer's state."""
    if step is None:
        yield "weights are not compared: no checkpoint of a step in common"
        return
    model = [tensor for tensor in tensors if tensor.group == "model"]
    lines = [(f"weights at step {step}", "largest difference", "")]
    for place in excerpt([tensor.difference > tolerance for tensor in model]):
        tensor = model[place]
        lines.append((tensor.name, _size(tensor.difference), f"< {tensor.where}" if tensor.difference > tolerance else ""))
    yield aligned(lines, left=(-1,))
    for group in ("average", "optimizer"):
        others = [tensor for tensor in tensors if tensor.group == group]
        if others:
            worst = max(others, key=lambda tensor: tensor.difference)
            yield f"{group}: {counted(len(others), 'tensor')}, largest difference {_size(worst.difference)} ({worst.name} {worst.where})"


def first_differences(
    rows: Sequence[ComparedRow], tensors: Sequence[ComparedTensor], step: int | None, tolerance: float, weights_tolerance: float
) -> list[str]:
    """Name the first step and the first parameter that differ by more than the tolerance; empty where none does."""
    found = []
    for row in sorted(rows, key=lambda row: (row.step, row.kind == "eval")):
        measure = row.differs(tolerance)
        if measure:
            one, other = map(_plain, row.values[measure])
            apart = _size(row.differences()[measure])
            called = "evaluation at step" if row.kind == "eval" else "step"
            found.append(f"first at {called} {row.step}, {measure} {one} / {other} (difference {apart})")
            break
    first = next((tensor for tensor in tensors if tensor.difference > weights_tolerance), None)
    if first:
        group = "" if first.group == "model" else f"{first.group} "
        found.append(f"first parameter {group}{first.name} at step {step}, {first.where} (difference {_size(first.difference)})")
    return found


GROWS = 50
"""Times by which a difference may grow from one step to the next, and still be rounding that a network that learns carries on."""


def explain(run: ComparedRun, other: ComparedRun, rows: Sequence[ComparedRow], tolerance: float) -> Iterator[str]:
    """Yield lines on why two runs may differ by rounding alone; none where their options give different results."""
    keys = run.options.keys() | other.options.keys()
    may_differ = (*MAY_CHANGE, "train.precision")
    if any(run.options.get(key) != other.options.get(key) for key in keys if not key.startswith(may_differ)):
        return
    if any(one.options.get("train.precision") == "bf16" for one in (run, other)):
        yield (
            "train.precision is bf16 in a run: another order of summation changes a loss by about 4e-3, which grows; train both with "
            "--train.precision=fp32 to compare topologies"
        )
        return
    losses = [row.differences()["loss"] for row in sorted(rows, key=lambda row: row.step) if row.kind == "train"]
    first = next((place for place, apart in enumerate(losses) if apart > tolerance), None)
    if first and all(later <= GROWS * max(before, 1e-6) for before, later in pairwise(losses[: first + 1])):
        yield (
            f"the {counted(first, 'step')} before differ by at most {_size(max(losses[:first]))}: rounding grows while a network learns "
            "fast, so compare the first steps (--train.max_steps), or allow for it with --tolerance"
        )


def summary(rows: Sequence[ComparedRow], tensors: Sequence[ComparedTensor], step: int | None) -> str:
    """Format how much was compared, and the largest differences."""
    parts = []
    for kind, called in KIND_NAMES.items():
        losses = [row.differences()["loss"] for row in rows if row.kind == kind]
        parts.append(counted(len(losses), called) + (f" (largest loss difference {_size(max(losses))})" if losses else ""))
    if step is None:
        return ", ".join([*parts, "no weights"])
    model = [tensor for tensor in tensors if tensor.group == "model"]
    worst = max(model, key=lambda tensor: tensor.difference, default=None)
    largest = f" (largest {_size(worst.difference)}, {worst.name})" if worst else ""
    return ", ".join([*parts, f"{counted(len(model), 'parameter')} at step {step}{largest}"])


def excerpt(differs: Sequence[bool]) -> Sequence[int]:
    """Return the places of at most ROWS rows of a table to show: around the first that differs, else evenly spread."""
    if len(differs) <= ROWS:
        return range(len(differs))
    if True in differs:
        start = min(max(differs.index(True) - 3, 0), len(differs) - ROWS)
        return range(start, start + ROWS)
    return [row * (len(differs) - 1) // (ROWS - 1) for row in range(ROWS)]


def _plain(value: float | None) -> str:
    return "null" if value is None else f"{value:.7g}"


def _size(apart: float) -> str:
    return "0" if apart == 0 else "infinite" if apart == math.inf else f"{apart:.1e}"
