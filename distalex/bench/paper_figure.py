"""The figure of `bench paper`: what each change does, Figure 1, and colour in the columns' first filters over training (Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distalex.bench.paper_claims import BASELINE, CLAIMS, FIGURE1, MARKS, direction
from distalex.bench.results import place_and_date, write_figure

COLOURS = ("tab:blue", "tab:orange")
DIRECTIONS = {"the paper's": "tab:blue", "the other": "tab:red", "undecided": "tab:gray"}


def draw_paper(result: dict[str, Any], path: Path) -> None:
    """Draw a result of `bench_paper` into `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.8), layout="constrained")
    changes, figure1, columns = figure.subplots(1, 3, gridspec_kw={"width_ratios": (1.3, 1, 1)})
    _draw_changes(changes, result)
    _draw_figure1(figure1, result)
    _draw_columns(columns, result)
    figure.suptitle(f"{result['command']}\n{place_and_date(result)}", fontsize=10)
    write_figure(figure, path)


def _draw_changes(axes: Any, result: dict[str, Any]) -> None:
    claims = {name: CLAIMS[name] for name in result["ablations"]}
    for place, (name, claim) in enumerate(claims.items()):
        found = result["ablations"][name]["top1"]
        colour = DIRECTIONS[direction(found, claim.sign)]
        axes.barh(-place, found["mean"], xerr=found["error"], color=colour, height=0.6, capsize=3, alpha=0.8)
        axes.plot(found["differences"], [-place] * len(found["differences"]), "k.", markersize=4)
    labels = [f"{claim.change} ({claim.section})" for claim in claims.values()]
    axes.set_yticks([-place for place in range(len(claims))], labels, fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(
        "points of test top-1 (bar: mean ± standard error; dots: seeds)\nblue: the paper's direction, red: the other, grey: undecided",
        fontsize=9,
    )
    axes.set_title("one thing changed", fontsize=11)


def _draw_figure1(axes: Any, result: dict[str, Any]) -> None:
    for colour, (kind, name) in zip(COLOURS, FIGURE1.items(), strict=True):
        for run in result["runs"].get(name, ()):
            curve = run["train_curve"]
            label = kind if not run["seed"] else None
            _plot_epochs(axes, range(1, len(curve) + 1), [100 - top1 for top1 in curve], color=colour, label=label)
    axes.axhline(100 - MARKS[-1], color="grey", linestyle="--", linewidth=1)
    axes.set_title("Figure 1: training error, %" if result["figure1"] else "Figure 1: not tried", fontsize=11)
    if result["figure1"]:
        axes.legend(fontsize=9)


def _draw_columns(axes: Any, result: dict[str, Any]) -> None:
    for run in result["runs"][BASELINE]:
        by_epoch = run["colour"]["by_epoch"]
        for column, colour in enumerate(COLOURS):
            shares = [100 * parts[column] for parts in by_epoch.values()]
            label = f"column {column}" if not run["seed"] else None
            _plot_epochs(axes, [int(epoch) for epoch in by_epoch], shares, color=colour, label=label, alpha=0.8)
    axes.set_title("Figure 3: colour in conv1, % of energy", fontsize=11)
    axes.legend(fontsize=9)


def _plot_epochs(axes: Any, epochs: Sequence[int], values: Sequence[float], **style: Any) -> None:
    """Draw a value after each epoch as a line, or as a dot where there is one epoch."""
    axes.plot(epochs, values, marker="o" if len(epochs) == 1 else None, **style)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch", fontsize=9)
