"""The image of `bench loader`: the rates of all sides as bars, loading alone and the network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OURS, OTHERS = "tab:blue", "silver"


def draw_loader(result: dict[str, Any], path: Path, stored_sides: dict[str, str], input_sides: dict[str, str]) -> None:
    """Draw a result of `bench_loader` into `path`, the sides under their names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    stored, views = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 1.15)})
    images, made = result["images"], result["input"]
    width, height = images["median_size"]
    side, size = images["stored_size"], made["image_size"]
    _draw_bars(stored, result, stored_sides, f"stored {side}x{side} images as uint8 batches, images/s")
    _draw_bars(views, result, input_sides, f"the network's input, {size}x{size} {made['precision']}, images/s")
    versions = result["machine"]["versions"]
    figure.suptitle(
        f"{images['count']:,} images ({images['kind']}, median {width}x{height}), batches of {made['batch']}, page cache warm; "
        f"{result['machine']['cores']} cores, PyTorch {versions['torch']}, FFCV {versions['ffcv']}, {result['date']}; "
        "medians, with the range of the repeats",
        fontsize=10,
    )
    figure.savefig(path, dpi=120)
    print(f"drawn: {path}")


def _draw_bars(axes: Any, result: dict[str, Any], names: dict[str, str], title: str) -> None:
    """A bar a side, with its rate and how many times a DataLoader's over the original files ours is."""
    rates = {side: result["sides"][side]["images_per_second"] for side in names if side in result["sides"]}
    for row, (side, rate) in enumerate(rates.items()):
        ours = side.startswith(("distalex", "input"))
        error = [[rate["median"] - rate["min"]], [rate["max"] - rate["median"]]]
        axes.barh(row, rate["median"], xerr=error, color=OURS if ours else OTHERS, capsize=3, height=0.65)
        ratio = result["ratios"].get(side, {}).get("dataloader_original")
        words = f"{rate['median']:,.0f}" + (f"  ({ratio['median']:.1f} × original files)" if ratio else "")
        axes.annotate(words, (rate["max"], row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(rates)), [names[side] for side in rates], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45 * max((rate["max"] for rate in rates.values()), default=1.0))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
