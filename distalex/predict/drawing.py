"""A figure of images with their predictions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from distalex.console import shortened
from distalex.files import plain_letters, save_figure
from distalex.predict.predictions import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 34
"""Letters that fit over an image."""


def draw_predictions(predictions: list[Prediction], images: Tensor, path: Path) -> None:
    """Draw images (n, side, side, 3) uint8 in a grid, each with its label and bars of the likeliest classes (Figure 4).

    A title is green where the prediction is right, red where it is wrong, and black where the actual label is unknown. Raises UserError
    where `path` cannot be written.
    """
    with plain_letters():
        save_figure(_figure(predictions, images), path, "save")


def png_of(predictions: list[Prediction], images: Tensor) -> bytes:
    """Return the same drawing as PNG, for a notebook."""
    file = io.BytesIO()
    with plain_letters():
        _figure(predictions, images).savefig(file, format="png", dpi=80)
    return file.getvalue()


def _figure(predictions: list[Prediction], images: Tensor) -> Figure:
    from matplotlib.figure import Figure

    across = min(4, len(predictions))
    down = -(-len(predictions) // across)
    bars_down = max(len(prediction.labels) for prediction in predictions)
    figure = Figure(figsize=(across * 2.6, down * (2.5 + 0.18 * bars_down)), layout="constrained")
    grid = figure.subplots(down * 2, across, squeeze=False, height_ratios=[2, 0.16 * bars_down] * down)
    for axes in grid.flat:
        axes.axis("off")
    for number, (prediction, image) in enumerate(zip(predictions, images.numpy(), strict=True)):
        panel, bars = grid[number // across * 2][number % across], grid[number // across * 2 + 1][number % across]
        panel.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
        title, colour = _title(prediction)
        panel.set_title(title, fontsize=9, color=colour)
        _draw_bars(bars, prediction, bars_down)
    return figure


def _title(prediction: Prediction) -> tuple[str, str]:
    """Two lines over an image, and their colour."""
    share = f" {100 * prediction.probabilities[0]:.1f} %"
    if prediction.actual is None:
        name = shortened(Path(prediction.name).name, LINE, middle=True)
        return f"{name}\n{shortened(prediction.labels[0], LINE - len(share))}{share}", "black"
    label = shortened(prediction.labels[0], LINE - len("predicted: ") - len(share))
    colour = "darkgreen" if prediction.actual == prediction.labels[0] else "firebrick"
    return f"predicted: {label}{share}\nactual: {shortened(prediction.actual, LINE - len('actual: '))}", colour


def _draw_bars(axes: Any, prediction: Prediction, down: int) -> None:
    """A bar for each of the likeliest classes with its name and percentage; the actual one's is green."""
    colours = ["mediumseagreen" if name == prediction.actual else "lightsteelblue" for name in prediction.labels]
    axes.barh(range(len(prediction.labels)), prediction.probabilities, color=colours, height=0.8)
    axes.set(xlim=(0, 1), ylim=(down - 0.5, -0.5))
    for place, (name, share) in enumerate(zip(prediction.labels, prediction.probabilities, strict=True)):
        axes.text(0.02, place, shortened(name, LINE), va="center", fontsize=7)
        axes.text(0.99, place, f"{100 * share:.1f} %", va="center", ha="right", fontsize=7)
