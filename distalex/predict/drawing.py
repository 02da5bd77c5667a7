"""A figure of images with their predictions."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from distalex.files import save_figure
from distalex.predict.predictions import TOP, Prediction


def draw_predictions(predictions: list[Prediction], images: Tensor, path: Path) -> None:
    """Draw images (n, side, side, 3) uint8 in a grid, each with its label and bars of the top-5 probabilities (Figure 4).

    A title is green where the prediction is right or the actual label unknown, else red. Raises UserError where `path` cannot be
    written.
    """
    from matplotlib.figure import Figure

    across = min(4, len(predictions))
    down = -(-len(predictions) // across)
    figure = Figure(figsize=(across * 2.6, down * 3.4), layout="constrained")
    grid = figure.subplots(down * 2, across, squeeze=False, height_ratios=[2, 1] * down)
    for axes in grid.flat:
        axes.axis("off")
    for number, (prediction, image) in enumerate(zip(predictions, images.numpy(), strict=True)):
        panel, bars = grid[number // across * 2][number % across], grid[number // across * 2 + 1][number % across]
        right = prediction.actual in (None, prediction.labels[0])
        panel.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
        known = prediction.actual is not None
        label = prediction.labels[0] if known else f"{Path(prediction.name).name}: {prediction.labels[0]}"
        title = f"predicted: {label}\nactual: {prediction.actual}" if known else label
        panel.set_title(title, fontsize=9, color="darkgreen" if right else "firebrick")
        colours = ["mediumseagreen" if name == prediction.actual else "lightsteelblue" for name in prediction.labels]
        bars.barh(range(len(prediction.labels)), prediction.probabilities, color=colours, height=0.8)
        bars.set(xlim=(0, 1), ylim=(TOP - 0.5, -0.5))
        for place, name in enumerate(prediction.labels):
            bars.text(0.02, place, name, va="center", fontsize=7)
    save_figure(figure, path, "save")
