"""How the tables of measurements write numbers, ranges and rows, and where they read them."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

FOLDER = Path(__file__).resolve().parent


def read(name: str) -> dict[str, Any]:
    """Return what a benchmark left."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def number(value: float) -> str:
    """Format a rate or a time with about three digits."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def ranged(found: dict[str, float], digits: int = 2) -> str:
    """Format a median with the range of its repeats."""
    return f"{found['median']:.{digits}f} ({found['min']:.{digits}f} to {found['max']:.{digits}f})"


def minutes(seconds: dict[str, float]) -> str:
    """Format a spread of seconds, in minutes where it is long."""
    if seconds["median"] < 180:
        return f"{ranged(seconds, 0)} s"
    found = {name: value / 60 for name, value in seconds.items()}
    return f"{ranged(found, 1)} min" if found["min"] < found["max"] else f"{found['median']:.1f} min"


def rows_of(head: str, rows: list[list[str]]) -> str:
    """Format a table of Markdown, whose head is given as `a | b`."""
    titles = head.split(" | ")
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def signed(value: float, digits: int = 1) -> str:
    """Format a difference with a minus of its own width."""
    return f"{value:+.{digits}f}".replace("-", "−")


def with_seeds(found: dict[str, Any]) -> str:
    """Format a mean with its standard error and each seed's difference."""
    each = ", ".join(signed(value) for value in found["differences"])
    return f"{signed(found['mean'], 2)} ± {found['error']:.2f} ({each})"


def mean_of(runs: list[dict[str, Any]], key: str) -> str:
    """Format a mean over seeds with their standard deviation."""
    values = [run[key] for run in runs]
    return f"{mean(values):.1f} ± {stdev(values):.1f}"
