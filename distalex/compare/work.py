"""Two runs side by side: the first step and the first parameter where they part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalex.compare.options import CompareOptions
from distalex.config.loading import read_yaml
from distalex.errors import UserError
from distalex.runs.checkpoint import known_runs, load, newest_first
from distalex.runs.metrics import read_metrics

MEASURES = {"train": ("loss", "top1", "lr"), "eval": ("loss", "top1", "top5", "count")}
CALLED = {"train": "step", "eval": "evaluation"}
PLACES = ("name", "runs_dir")  # options that differ between any two runs
ROWS = 20  # of a table on screen

Rows = dict[int, dict[str, Any]]  # of metrics.jsonl, by step


@dataclass(frozen=True)
class Side:
    """A run or checkpoint that the user named, and what of it can be compared."""

    place: str
    curves: dict[str, Rows]
    """By kind, as in MEASURES."""
    checkpoints: dict[int, Path]
    """By step."""
    options: dict[str, Any]
    """By dotted name, as this or an earlier version of distalex wrote them; empty where they are not known."""

    def describe(self) -> str:
        steps = list(self.curves["train"])
        rows = f"steps {min(steps)} to {max(steps)} in {len(steps)} rows" if steps else "no curve"
        saved = ", ".join(map(str, sorted(self.checkpoints)))
        return f"{self.place}: {rows}, {'checkpoints at ' + saved if saved else 'no checkpoint'}"


@dataclass(frozen=True)
class Point:
    """One row of metrics that both runs have."""

    kind: str
    step: int
    values: dict[str, tuple[float | None, float | None]]
    """By measure, both runs'."""

    def differences(self) -> dict[str, float]:
        return {measure: difference(measure, *pair) for measure, pair in self.values.items()}

    def parted(self, tolerance: float) -> str | None:
        """The first measure that differs by more."""
        return next((measure for measure, size in self.differences().items() if size > tolerance), None)


@dataclass(frozen=True)
class Pair:
    """One tensor of two checkpoints."""

    group: str
    """`model`, `average` or `optimizer`."""
    name: str
    difference: float
    """The largest; infinite where they cannot be subtracted."""
    where: str
    """The index of the largest difference and the values there, or why there is none."""


def compare_runs(options: CompareOptions) -> int:
    """`python -m distalex.compare RUN OTHER`: prints, and returns 0 where both are the same within the tolerance, else 1.

    Raises UserError where a run is missing or damaged, or both have nothing in common.
    """
    run, other = (open_side(place, options.runs_dir) for place in (options.run, options.other))
    points = [point for kind in MEASURES for point in compare_curves(kind, run.curves[kind], other.curves[kind])]
    step = max(run.checkpoints.keys() & other.checkpoints.keys(), default=None)
    if not points and step is None:
        raise UserError(f"{run.describe()}; {other.describe()}: no step in common; compare runs that share steps")
    pairs = [] if step is None else compare_states(*(load(side.checkpoints[step]) for side in (run, other)))
    limit = options.tolerance if options.weights_tolerance is None else options.weights_tolerance
    for line in (*describe_sides(run, other), *describe_points(points, options.tolerance), *describe_pairs(pairs, step, limit)):
        print(line)
    parted = first_parting(points, pairs, step, options.tolerance, limit)
    print(f"parted: {'; '.join(parted)}" if parted else f"same within {_tolerances(options)}: {summary(points, pairs, step)}")
    return 1 if parted else 0


def open_side(place: str, runs_dir: str) -> Side:
    """What a path or a run's name means: a checkpoint with its run's curve up to it, or a whole run. Raises UserError."""
    for path in (Path(place), Path(runs_dir) / place):
        if path.is_file():
            return open_checkpoint(place, path)
        folder = path.parent if path.name == "checkpoints" else path
        if (folder / "metrics.jsonl").is_file() or (folder / "checkpoints").is_dir():
            return open_run(place, folder)
    raise UserError(f"{place}: no such run or checkpoint{known_runs(runs_dir)}")


def open_checkpoint(place: str, path: Path) -> Side:
    state = load(path)
    step = state["progress"]["step"]
    curves = read_curves(path.parent.parent / "metrics.jsonl") if path.parent.name == "checkpoints" else no_curves()
    until = {kind: {row: values for row, values in rows.items() if row <= step} for kind, rows in curves.items()}
    return Side(place, until, {step: path}, dotted(state["config"]))


def open_run(place: str, folder: Path) -> Side:
    saved = {int(path.stem.removeprefix("step-")): path for path in newest_first(folder / "checkpoints")}
    kept = folder / "config.yaml"
    options = dotted(read_yaml(kept)[0]) if kept.is_file() else {}
    return Side(place, read_curves(folder / "metrics.jsonl"), saved, options)


def no_curves() -> dict[str, Rows]:
    return {kind: {} for kind in MEASURES}


def read_curves(path: Path) -> dict[str, Rows]:
    """The rows of a metrics.jsonl by kind and step; none where there is no such file. Raises UserError for another content."""
    curves = no_curves()
    if not path.is_file():
        return curves
    try:
        rows = read_metrics(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]})") from None
    for row in rows:
        if not (isinstance(row, dict) and isinstance(row.get("kind"), str) and isinstance(row.get("step"), int)):
            raise UserError(f"{path}: {str(row)[:80]} is no row of metrics, which has kind and step; name a run that distalex wrote")
        if row["kind"] in curves:
            curves[row["kind"]][row["step"]] = row
    return curves


def dotted(values: dict[str, Any]) -> dict[str, Any]:
    """Options of sections by their dotted names."""
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    leaves = {f"{key}.{leaf}": value for key, section in sections.items() for leaf, value in section.items()}
    return {key: value for key, value in values.items() if key not in sections} | leaves


def compare_curves(kind: str, run: Rows, other: Rows) -> list[Point]:
    """The steps that both have, in order."""
    steps = sorted(run.keys() & other.keys())
    return [
        Point(kind, step, {key: (number(run[step].get(key)), number(other[step].get(key))) for key in MEASURES[kind]}) for step in steps
    ]


def number(value: Any) -> float | None:
    """None for what is no finite number, which metrics.jsonl writes as null."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def difference(measure: str, one: float | None, other: float | None) -> float:
    """How far two values of a measure are apart: percents as shares, learning rates relative to the larger, the rest as it is."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    unit = {"top1": 100.0, "top5": 100.0, "lr": max(abs(one), abs(other)) or 1.0}.get(measure, 1.0)
    return abs(one - other) / unit


def compare_states(run: dict[str, Any], other: dict[str, Any]) -> list[Pair]:
    """Weights, their moving average and the optimizer's state, each in network order."""
    ours, theirs = (dict(tensors_of(state)) for state in (run, other))
    shorter, longer = sorted((ours, theirs), key=len)  # the longer one places what the other lacks
    keys = [*longer, *(key for key in shorter if key not in longer)]
    order = {group: rank for rank, group in enumerate(("model", "average", "optimizer"))}
    return [compare_tensors(*key, ours.get(key), theirs.get(key)) for key in sorted(keys, key=lambda key: order[key[0]])]


def tensors_of(state: dict[str, Any]) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Every tensor of a checkpoint by its group and name."""
    for group in ("model", "average"):
        for name, value in (state.get(group) or {}).items():
            yield (group, name), value
    for name, values in (state.get("optimizer") or {}).items():
        for key, value in values.items():
            yield ("optimizer", f"{name} {key}"), torch.as_tensor(value)


def compare_tensors(group: str, name: str, one: Tensor | None, other: Tensor | None) -> Pair:
    """Two values that are not finite are the same where they are equal or both NaN."""
    if one is None or other is None:
        return Pair(group, name, math.inf, f"only in the {'run' if other is None else 'other'}")
    if one.shape != other.shape:
        return Pair(group, name, math.inf, f"shape {tuple(one.shape)} / {tuple(other.shape)}")
    one, other = one.double(), other.double()
    apart = (one - other).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    apart[(one == other) | (one.isnan() & other.isnan())] = 0.0
    if not apart.numel():
        return Pair(group, name, 0.0, "empty")
    flat = int(apart.argmax())
    index = [int(place) for place in torch.unravel_index(torch.tensor(flat), apart.shape)]
    values = f"{float(one.flatten()[flat]):.7g} / {float(other.flatten()[flat]):.7g}"
    return Pair(group, name, float(apart.flatten()[flat]), f"{index} {values}" if index else values)


def describe_sides(run: Side, other: Side) -> Iterator[str]:
    """What is compared, which options differ, and which steps only one has."""
    yield f"run    {run.describe()}"
    yield f"other  {other.describe()}"
    if run.options and other.options:
        keys = [key for key in {**run.options, **other.options} if key not in PLACES]
        changed = [key for key in keys if run.options.get(key, "absent") != other.options.get(key, "absent")]
        listed = ", ".join(f"{key} {run.options.get(key, 'absent')} / {other.options.get(key, 'absent')}" for key in changed)
        yield f"options that differ: {listed or 'none'}"
    for kind, called in CALLED.items():
        for side, rest in ((run, other), (other, run)):
            only = sorted(side.curves[kind].keys() - rest.curves[kind].keys())
            if only and rest.curves[kind]:
                steps = f"step {only[0]}" if len(only) == 1 else f"steps {only[0]} to {only[-1]}"
                yield f"only in {side.place}: {counted(len(only), called)} ({steps})"


def describe_points(points: Sequence[Point], tolerance: float) -> Iterator[str]:
    """A table for each kind: both losses and top-1, the difference of the losses, and a mark where a row parts."""
    for kind, called in CALLED.items():
        rows = [point for point in points if point.kind == kind]
        if not rows:
            yield f"{called}s are not compared: no step in common"
            continue
        lines: list[tuple[str, ...]] = [(called, "loss of run", "of other", "difference", "top-1 of run", "of other", "")]
        for place in excerpt([point.parted(tolerance) is not None for point in rows]):
            point = rows[place]
            loss, top1 = ([plain(value) for value in point.values[key]] for key in ("loss", "top1"))
            parted = point.parted(tolerance)
            lines.append((str(point.step), *loss, size(point.differences()["loss"]), *top1, f"< {parted}" if parted else ""))
        yield from table(lines)
        if len(lines) - 1 < len(rows):
            yield f"({len(lines) - 1} of {counted(len(rows), called)} shown)"


def describe_pairs(pairs: Sequence[Pair], step: int | None, tolerance: float) -> Iterator[str]:
    """A table of the weights, and a line each for their moving average and the optimizer's state."""
    if step is None:
        yield "weights are not compared: no checkpoint of a step in common"
        return
    model = [pair for pair in pairs if pair.group == "model"]
    lines = [(f"weights at step {step}", "largest difference", "")]
    shown = excerpt([pair.difference > tolerance for pair in model])
    for pair in (model[place] for place in shown):
        lines.append((pair.name, size(pair.difference), f"< {pair.where}" if pair.difference > tolerance else ""))
    yield from table(lines)
    for group in ("average", "optimizer"):
        others = [pair for pair in pairs if pair.group == group]
        if others:
            worst = max(others, key=lambda pair: pair.difference)
            yield f"{group}: {counted(len(others), 'tensor')}, largest difference {size(worst.difference)} ({worst.name} {worst.where})"


def first_parting(
    points: Sequence[Point], pairs: Sequence[Pair], step: int | None, tolerance: float, weights_tolerance: float
) -> list[str]:
    """The first step and the first parameter that differ by more than the tolerance, in words; empty where none does."""
    found = []
    for point in sorted(points, key=lambda point: (point.step, point.kind == "eval")):
        measure = point.parted(tolerance)
        if measure:
            one, other = map(plain, point.values[measure])
            apart = size(point.differences()[measure])
            called = "evaluation at step" if point.kind == "eval" else "step"
            found.append(f"first at {called} {point.step}, {measure} {one} / {other} (difference {apart})")
            break
    first = next((pair for pair in pairs if pair.difference > weights_tolerance), None)
    if first:
        group = "" if first.group == "model" else f"{first.group} "
        found.append(f"first parameter {group}{first.name} at step {step}, {first.where} (difference {size(first.difference)})")
    return found


def summary(points: Sequence[Point], pairs: Sequence[Pair], step: int | None) -> str:
    """How much was compared and the largest differences."""
    parts = []
    for kind, called in CALLED.items():
        losses = [point.differences()["loss"] for point in points if point.kind == kind]
        parts.append(counted(len(losses), called) + (f" (largest loss difference {size(max(losses))})" if losses else ""))
    if step is None:
        return ", ".join([*parts, "no weights"])
    model = [pair for pair in pairs if pair.group == "model"]
    worst = max(model, key=lambda pair: pair.difference, default=None)
    largest = f" (largest {size(worst.difference)}, {worst.name})" if worst else ""
    return ", ".join([*parts, f"{counted(len(model), 'parameter')} at step {step}{largest}"])


def excerpt(parted: Sequence[bool]) -> Sequence[int]:
    """Which rows of a long table to show: those around the first that parts, else evenly spread from first to last."""
    if len(parted) <= ROWS:
        return range(len(parted))
    if True in parted:
        start = min(max(parted.index(True) - 3, 0), len(parted) - ROWS)
        return range(start, start + ROWS)
    return [row * (len(parted) - 1) // (ROWS - 1) for row in range(ROWS)]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need; the first line is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row[:-1], widths, strict=False)) + f"  {row[-1]}".rstrip() for row in rows]


def plain(value: float | None) -> str:
    return "null" if value is None else f"{value:.7g}"


def size(apart: float) -> str:
    return "0" if apart == 0 else "infinite" if apart == math.inf else f"{apart:.1e}"


def counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _tolerances(options: CompareOptions) -> str:
    weights = options.weights_tolerance
    return f"{options.tolerance:g}" if weights in (None, options.tolerance) else f"{options.tolerance:g} (weights {weights:g})"
