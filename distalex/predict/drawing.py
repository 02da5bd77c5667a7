"""Images with their predictions, drawn."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from distalex.errors import UserError
from distalex.predict.predictions import SHOWN, Prediction


def draw_predictions(predictions: list[Prediction], images: Tensor, path: Path) -> None:
    """The images in a grid, each with its label beside the actual one (green right, red wrong) and top-5 bars (Figure 4)."""
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
        actual = "" if prediction.actual is None else f"\nactual: {prediction.actual}"
        label = prediction.labels[0] if actual else f"{Path(prediction.name).name}: {prediction.labels[0]}"
        panel.set_title(f"predicted: {label}{actual}" if actual else label, fontsize=9, color="darkgreen" if right else "firebrick")
        colours = ["mediumseagreen" if name == prediction.actual else "lightsteelblue" for name in prediction.labels]
        bars.barh(range(len(prediction.labels)), prediction.probabilities, color=colours, height=0.8)
        bars.set(xlim=(0, 1), ylim=(SHOWN - 0.5, -0.5))
        for place, name in enumerate(prediction.labels):
            bars.text(0.02, place, name, va="center", fontsize=7)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UserError(f"save={path}: cannot be written ({error.strerror or error}); give another place") from None
