"""The figure of `bench loader`: the rates of all contenders as bars, for loading alone and for the network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distalex.bench.results import place_and_date, write_figure

OURS, OTHERS = "tab:blue", "silver"


def draw_loader(result: dict[str, Any], path: Path, stored_names: dict[str, str], input_names: dict[str, str]) -> None:
    """Draw a result of `bench_loader` into `path`; the names of contenders label their bars."""
    from matplotlib.figure import Figure

    images, made = result["images"], result["input"]
    width, height = images["median_size"]
    side, size = images["stored_size"], made["image_size"]
    panels = {
        f"stored {side}x{side} {images['encoding']} images as uint8 batches, images/s": stored_names,
        f"the network's input, {size}x{size} {made['precision']}, images/s": input_names,
    }
    panels = {title: names for title, names in panels.items() if names.keys() & result["contenders"].keys()}
    figure = Figure(figsize=(1 + 6.5 * max(1, len(panels)), 3), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels.items(), strict=False):
        _draw_bars(axes, result, names, title)
    figure.suptitle(
        f"{images['count']:,} images ({images['kind']}, median {width}x{height}), batches of {made['batch']}, page cache warm\n"
        f"medians, with the range of the repeats\n{place_and_date(result)}, FFCV {result['machine']['versions']['ffcv']}",
        fontsize=10,
    )
    write_figure(figure, path)


def _draw_bars(axes: Any, result: dict[str, Any], names: dict[str, str], title: str) -> None:
    """A bar for each contender, with its rate; our input also with its ratio to the DataLoader."""
    rates = {name: result["contenders"][name]["images_per_second"] for name in names if name in result["contenders"]}
    for row, (contender, rate) in enumerate(rates.items()):
        error = [[rate["median"] - rate["min"]], [rate["max"] - rate["median"]]]
        colour = OURS if contender in ("reader", "input") else OTHERS
        axes.barh(row, rate["median"], xerr=error, color=colour, capsize=3, height=0.65)
        ratio = result["speedup"] if contender == "input" else None
        words = f"{rate['median']:,.0f}" + (f"  ({ratio['median']:.1f} × DataLoader)" if ratio else "")
        axes.annotate(words, (rate["max"], row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(rates)), [names[contender] for contender in rates], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.6 * max((rate["max"] for rate in rates.values()), default=1.0))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
