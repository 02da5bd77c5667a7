"""Curves as SVG, which needs no script, and their numbers for the page's script, which shows the values under the pointer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from distalex.report.history import History
from distalex.runs.metrics import finite

POINTS = 300
"""Most points of a curve; a screen shows no more."""
WIDTH, HEIGHT = 420.0, 250.0
"""Of a panel, in pixels of its SVG."""
LEFT, RIGHT, TOP, BOTTOM = 58.0, 20.0, 30.0, 44.0
"""Margins of the axes, in the same pixels."""


@dataclass(frozen=True)
class Point:
    """Consecutive steps drawn as one point: their last step, and the mean, least and largest of their values."""

    step: int
    mean: float
    least: float
    largest: float


@dataclass(frozen=True)
class Curve:
    """One curve of a panel."""

    label: str
    """In the legend."""
    colour: int
    """Number of the page's class c0, c1, …"""
    dashed: bool
    """Whether its line is dashed, as that of the test set."""
    points: tuple[Point | None, ...]
    """In order of steps; None is a gap, where values are not finite."""


@dataclass(frozen=True)
class Panel:
    """Curves over steps that share their axes."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    zero: bool = False
    """Whether the vertical axis starts at 0."""
    bad: tuple[int, ...] = field(default=())
    """Steps whose value is not finite."""

    @property
    def axis(self) -> str:
        """Name of the vertical axis, with its unit."""
        title = self.title[:1].lower() + self.title[1:]
        return f"{title}, {self.unit}" if self.unit else title


MEASURES: tuple[tuple[str, str, bool, dict[str, tuple[str, str, float]]], ...] = (
    ("Loss", "cross-entropy", False, {"training": ("train", "loss", 1), "test": ("eval", "loss", 1)}),
    ("Top-1", "%", False, {"training": ("train", "top1", 1), "test": ("eval", "top1", 1)}),
    ("Top-5", "%", False, {"test": ("eval", "top5", 1)}),
    ("Learning rate", "", True, {"": ("train", "lr", 1)}),
    ("Throughput", "images/s", True, {"": ("train", "images_per_second", 1)}),
    (
        "Time spent waiting",
        "% of the time",
        True,
        {"for data": ("train", "data_wait_fraction", 100), "for other processes": ("train", "comm_exposed_fraction", 100)},
    ),
    ("Model FLOP utilisation", "% of the measured matmul peak", True, {"": ("train", "mfu", 100)}),
)
"""Panels: title, unit, whether the axis starts at 0, and for each label the kind of row, its field and a factor."""


def panels_of(runs: Sequence[History]) -> list[Panel]:
    """Build the panels of MEASURES that any of the runs has values for, with a colour for each curve of one run or for each of several.

    A single run that logged its layers (`log.layers`) has two more panels, with a curve for each layer.
    """
    drawn = []
    for title, unit, zero, measures in MEASURES:
        curves, bad = [], []
        for place, run in enumerate(runs):
            for order, (label, (kind, key, factor)) in enumerate(measures.items()):
                rows = run.train if kind == "train" else run.evals
                values = [(row["step"], finite(row[key])) for row in rows if key in row]
                if key == "loss" or any(value is not None for _, value in values):  # a measure that is always null is unknown, not bad
                    bad += [step for step, value in values if value is None]
                named = " ".join(part for part in (run.name if len(runs) > 1 else "", label) if part) or title.lower()
                points = thin([(step, None if value is None else factor * value) for step, value in values])
                if any(points):
                    curves.append(Curve(named, place if len(runs) > 1 else order, order > 0, points))
        if curves:
            drawn.append(Panel(title, unit, tuple(curves), zero, tuple(bad)))
    return drawn + (_of_layers(runs[0]) if len(runs) == 1 else [])


def _of_layers(run: History) -> list[Panel]:
    """Norms of gradients, and of updates relative to the weights (`log.layers`); a layer with updates of 0 does not train."""
    rows = [row for row in run.train if all(isinstance(row.get(kind), dict) for kind in ("gradients", "weights", "updates"))]
    layers = list(dict.fromkeys(layer for row in rows for layer in row["updates"]))

    def curve(order: int, layer: str, kind: str, over: str | None) -> Curve:
        values: list[tuple[int, float | None]] = []
        for row in rows:
            size, whole = finite(row[kind].get(layer)), finite(row[over].get(layer)) if over else 100.0
            values.append((row["step"], 100.0 * size / whole if size is not None and whole else None))
        return Curve(layer, order, False, thin(values))

    drawn = []
    for title, unit, kind, over in (
        ("Gradients by layer", "norm", "gradients", None),
        ("Updates by layer", "% of the weights' norm", "updates", "weights"),
    ):
        curves = tuple(one for order, layer in enumerate(layers) if any((one := curve(order, layer, kind, over)).points))
        if curves:
            drawn.append(Panel(title, unit, curves, zero=True))
    return drawn


def thin(values: Sequence[tuple[int, float | None]], most: int = POINTS) -> tuple[Point | None, ...]:
    """Join consecutive (step, value) pairs into at most about `most` points; a value that is None makes a gap."""
    every = max(1, -(-len(values) // most))
    points: list[Point | None] = []
    for start in range(0, len(values), every):
        part = values[start : start + every]
        known = [value for _, value in part if value is not None]
        if known:
            points.append(Point(part[-1][0], math.fsum(known) / len(known), min(known), max(known)))
        if len(known) < len(part) and (points and points[-1] is not None):
            points.append(None)
    return tuple(points)


def draw_panel(panel: Panel, name: str) -> str:
    """Draw a panel as an <svg> with the id `name`; colours are the classes c0, c1, … of the page."""
    horizontal, vertical = _scales(panel)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-labelledby="{name}-title">',
        f'<title id="{name}-title">{escape(describe_panel(panel))}</title>',
        f'<text class="tick" x="4" y="14">{escape(panel.axis)}</text>',
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 6:g}" text-anchor="middle">step</text>',
    ]
    for value in horizontal.ticks:
        x = horizontal(value)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18:.1f}" text-anchor="middle">{_short(value)}</text>')
    for value in vertical.ticks:
        y = vertical(value)
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for step in panel.bad[:POINTS]:
        x = horizontal(step)
        parts.append(f'<line class="bad" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM - 8:.1f}" y2="{HEIGHT - BOTTOM:.1f}"/>')
    for curve in panel.curves:
        parts += _drawn(curve, horizontal, vertical)
    parts.append(f'<line class="cross" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}" x1="-9" x2="-9"/></svg>')
    return "".join(parts)


def numbers_of(panel: Panel) -> dict[str, Any]:
    """Return what the page's script needs: the range of steps, where it lies on the panel, and each curve's steps and values."""
    horizontal, _ = _scales(panel)
    return {
        "unit": panel.unit,
        "steps": [horizontal.low, horizontal.high],
        "across": [LEFT / WIDTH, 1 - RIGHT / WIDTH],
        "curves": [
            {"label": curve.label, "points": [[point.step, float(f"{point.mean:.5g}")] for point in curve.points if point]}
            for curve in panel.curves
        ],
    }


def describe_panel(panel: Panel) -> str:
    """Describe a panel in words, for readers who do not see it: each curve's first and last value."""
    described = []
    for curve in panel.curves:
        points = [point for point in curve.points if point]
        first, last = points[0], points[-1]
        described.append(f"{curve.label}: {first.mean:.4g} at step {first.step:,}, {last.mean:.4g} at step {last.step:,}")
    unit = f" ({panel.unit})" if panel.unit else ""
    return f"{panel.title}{unit} over steps. {'; '.join(described)}."


@dataclass(frozen=True)
class Scale:
    """A linear axis: values from `low` to `high` lie from pixel `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    """Values with a label."""

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _scales(panel: Panel) -> tuple[Scale, Scale]:
    points = [point for curve in panel.curves for point in curve.points if point]
    steps = [point.step for point in points]
    low, high = min(point.least for point in points), max(point.largest for point in points)
    if panel.title == "Loss" and len(points) > 20 and low >= 0:  # a first step with ten times the loss would flatten the rest
        means = sorted(point.mean for point in points)
        tested = max((point.largest for curve in panel.curves if curve.dashed for point in curve.points if point), default=low)
        high = max(low, tested, min(high, means[int(0.99 * (len(means) - 1))] * 1.25))
    vertical = _scale(0.0 if panel.zero else low, high, HEIGHT - BOTTOM, TOP, 5)
    last = max(steps)
    across = _scale(min(0, *steps), last, LEFT, WIDTH - RIGHT, 5, whole=True)
    return replace(across, high=last, ticks=tuple(tick for tick in across.ticks if tick <= last)) if last > across.low else across, vertical


def _scale(low: float, high: float, start: float, end: float, count: int, whole: bool = False) -> Scale:
    """A scale with labels at about `count` multiples of 1, 2 or 5 times a power of ten; `whole`: of 1 or more."""
    from matplotlib.ticker import MaxNLocator

    if high <= low:
        high = low + (abs(low) * 0.1 or 1.0)
    ticks = [float(tick) for tick in MaxNLocator(count, steps=(1, 2, 5, 10), integer=whole).tick_values(low, high)]
    low, high = min(low, next((tick for tick in reversed(ticks) if tick <= low), low)), next((tick for tick in ticks if tick >= high), high)
    return Scale(low, high, start, end, tuple(tick for tick in ticks if low <= tick <= high))


def _drawn(curve: Curve, horizontal: Scale, vertical: Scale) -> list[str]:
    """A band from the least to the largest value where points join several steps, then the line of means, with dots if it is short."""

    def inside(value: float) -> float:
        return vertical(min(value, vertical.high))

    parts, kind = [], f"c{curve.colour % 8}{' dashed' if curve.dashed else ''}"
    for piece in _pieces(curve.points):
        if any(point.largest > point.least for point in piece):
            above = [f"{horizontal(point.step):.1f},{inside(point.largest):.1f}" for point in piece]
            below = [f"{horizontal(point.step):.1f},{inside(point.least):.1f}" for point in reversed(piece)]
            parts.append(f'<polygon class="band {kind}" points="{" ".join(above + below)}"/>')
        places = [f"{horizontal(point.step):.1f},{inside(point.mean):.1f}" for point in piece]
        parts.append(f'<polyline class="curve {kind}" points="{" ".join(places)}"/>')
        if len(piece) <= 30:
            for place in places:
                x, y = place.split(",")
                parts.append(f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="2.4"/>')
    return parts


def _pieces(points: Sequence[Point | None]) -> list[list[Point]]:
    """The points between gaps."""
    pieces: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return [piece for piece in pieces if piece]


def _short(value: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.6g}"
