"""The figure of `bench hosts`: rates by link and batch size, and the gain of columns over data parallelism."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distalex.bench.parallel_figure import LINES, label_batches
from distalex.bench.results import place_and_date, write_figure

STYLES = ("-", "--", ":", "-.")


def draw_hosts(result: dict[str, Any], path: Path) -> None:
    """Draw a result of `bench_hosts` into `path`: a panel for each link, and one of columns against data parallelism."""
    from matplotlib.figure import Figure

    summary = result["summary"]
    rates = list(dict.fromkeys(one["rate"] for one in summary))
    figure = Figure(figsize=(3.6 * (len(rates) + 1), 4.4), layout="constrained")
    *panels, gains = figure.subplots(1, len(rates) + 1)
    for rate, axes in zip(rates, panels, strict=True):
        here = [one for one in summary if one["rate"] == rate]
        for mode in dict.fromkeys(mode for one in here for mode in one["modes"]):
            points = {one["batch"]: one["modes"][mode]["images_per_second"]["median"] for one in here if mode in one["modes"]}
            axes.plot(list(points), list(points.values()), color=LINES[mode][0], marker="o", markersize=4, label=LINES[mode][1])
        axes.set_title(f"images/s, links of {rate}", fontsize=11)
        axes.set_ylim(bottom=0)
        label_batches(axes, [one["batch"] for one in here])
    for style, rate in zip(STYLES, rates, strict=False):
        points = {one["batch"]: one["columns_to_data"] for one in summary if one["rate"] == rate and one["columns_to_data"]}
        gains.plot(list(points), list(points.values()), color=LINES["model"][0], linestyle=style, marker="o", markersize=4, label=rate)
    gains.axhline(1.0, color="grey", linewidth=1)
    gains.set_yscale("log", base=2)
    gains.yaxis.set_major_formatter("{x:g}")
    gains.set_title("columns ÷ data parallel", fontsize=11)
    label_batches(gains, list(dict.fromkeys(one["batch"] for one in summary)))
    figure.suptitle(f"{result['network']}; hosts are namespaces that share one machine\n{place_and_date(result)}", fontsize=10)
    write_figure(figure, path)
