"""The figure of `bench parallel`: rates, the gain of columns, and the bytes that each process sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distalex.bench.results import place_and_date, write_figure
from distalex.config.choices import declared_in
from distalex.config.config import MODES

LINES = {name: (mode.facts["COLOUR"], mode.facts["LABEL"]) for name, mode in declared_in(MODES).items()}


def draw_parallel(result: dict[str, Any], path: Path) -> None:
    """Draw a result of `bench_parallel` into `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.8), layout="constrained")
    rates, ratios, sent = figure.subplots(1, 3, gridspec_kw={"width_ratios": (1.15, 1, 1)})
    _draw_rates(rates, result)
    _draw_ratios(ratios, result)
    _draw_bytes(sent, result)
    figure.suptitle(
        f"{result['network']}; LRN: {result['lrn']}; {result['device']}: {place_and_date(result)}; medians, range of the repeats",
        fontsize=10,
    )
    write_figure(figure, path)


def _draw_rates(axes: Any, result: dict[str, Any]) -> None:
    for mode, processes in result["processes"].items():
        points = {one["batch"]: one["modes"][mode]["images_per_second"] for one in result["batches"] if mode in one["modes"]}
        colour, name = LINES[mode]
        if points:
            _draw_spread(axes, points, colour, name if processes == 1 else f"{name}, {processes} processes")
    axes.set_title("images/s of whole training steps", fontsize=11)
    axes.set_ylim(bottom=0)
    label_batches(axes, [one["batch"] for one in result["batches"]])


def _draw_ratios(axes: Any, result: dict[str, Any]) -> None:
    for other in ("data", "none"):
        points = {one["batch"]: one[f"columns_to_{other}"] for one in result["batches"] if one[f"columns_to_{other}"]}
        colour, name = LINES[other]
        if points:
            _draw_spread(axes, points, colour, f"columns ÷ {name}")
    axes.axhline(1.0, color="grey", linestyle="--", linewidth=1)
    at = result["crossing"] and result["crossing"]["measured"]["median"]["batch"]
    if at:
        axes.axvline(at, color="grey", linestyle="--", linewidth=1)
        axes.annotate(f"data parallel ahead from {at:,.0f}", (at, 1.0), (3, 6), textcoords="offset points", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.set_title("gain of two columns", fontsize=11)
    label_batches(axes, [one["batch"] for one in result["batches"]])


def _draw_spread(axes: Any, points: dict[int, dict[str, float]], colour: str, label: str) -> None:
    """Medians as a line, the range of the repeats as bars."""
    medians = [point["median"] for point in points.values()]
    below = [point["median"] - point["min"] for point in points.values()]
    above = [point["max"] - point["median"] for point in points.values()]
    axes.errorbar(list(points), medians, [below, above], color=colour, marker="o", markersize=4, capsize=3, linewidth=1.5, label=label)


def _draw_bytes(axes: Any, result: dict[str, Any]) -> None:
    """Measured bytes, with dotted lines to the batch size at which columns send as many as data parallelism."""
    batches = [one["batch"] for one in result["batches"]]
    ticks = batches
    axes.set_yscale("log")
    for mode in result["processes"]:
        points = {one["batch"]: one["modes"][mode]["comm_bytes"] / 1e6 for one in result["batches"] if mode in one["modes"]}
        if points and result["processes"][mode] > 1:
            axes.plot(list(points), list(points.values()), color=LINES[mode][0], marker="o", markersize=4, label=LINES[mode][1])
    found = result["crossing"]
    if found:
        gradients, equal = found["gradient_bytes_per_step"] / 1e6, found["bytes_are_equal_at"]
        bottom, end = gradients * batches[0] / equal, 2 * equal
        axes.plot([batches[0], end], [gradients] * 2, color=LINES["data"][0], linewidth=1, linestyle=":")
        # One mark where the run is in fp32.
        marks = {found["bytes_are_equal_in_fp32_at"]: "fp32", equal: result["network"].rpartition(" ")[2]}
        dotted = f"two columns in {' and '.join(marks.values())}, continued"
        axes.plot([], [], color=LINES["model"][0], linewidth=1, linestyle=":", label=dotted)
        for at, precision in marks.items():
            axes.plot([batches[0], end], [gradients * batches[0] / at, gradients * end / at], color=LINES["model"][0], linewidth=1, ls=":")
            axes.plot([at, at], [bottom, gradients], color="grey", linewidth=1, linestyle="--")
            words = f"equal at {at:,.0f} ({precision})"
            axes.annotate(words, (at, bottom), (-3, 0), textcoords="offset points", rotation=90, ha="right", va="bottom", fontsize=9)
        axes.set_ylim(top=30 * gradients)
        ticks = [2**power for power in range(batches[0].bit_length() - 1, int(end).bit_length(), 2)]
    axes.set_title("MB sent by a process per step", fontsize=11)
    axes.yaxis.set_major_formatter("{x:,g}")
    label_batches(axes, ticks, loc="upper left")


def label_batches(axes: Any, batches: list[int], loc: str = "best") -> None:
    """Give a panel its axis of batch sizes, a grid and a legend."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.minorticks_off()
    axes.set_xlabel("global batch size")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9, frameon=False, loc=loc)
