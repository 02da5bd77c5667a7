"""A contact sheet: stored training images and how they are augmented, as `python -m distalex.prepare show`."""

from pathlib import Path
from typing import Any

import numpy as np

from distalex.config.config import Config
from distalex.console import Console, shortened
from distalex.data.batches import Batch
from distalex.data.open import open_training_images
from distalex.data.order import choose
from distalex.data.pipeline import Split
from distalex.files import plain_letters, require_figure, save_figure
from distalex.parallel.start import start_processes
from distalex.prepare.options import ShowOptions

CELL = 1.7  # inches
TITLE = 0.3  # inches of two lines of labels above each
LABEL = 24  # letters of a line over an image
HEADING = 0.25  # inches of epochs above all


def show(options: ShowOptions, config: Config) -> Path:
    """Draw some training images of `config`, stored and as the first epochs augment them; the path of the figure.

    Raises UserError where the images cannot be read or the figure not be written.
    """
    path = Path(options.out)
    require_figure(path, "out")
    console = Console()
    with start_processes(config.parallel, config.model.columns, config.device) as mesh, console.showing():
        train, classes = open_training_images(
            *(config.data, mesh, console.say, console.progress),
            batch_size=options.count,
            precision=config.train.precision,
            seed=config.seed,
        )
        samples = choose(train.count, options.count, config.seed)
        ((stored, _),) = ((images.numpy().copy(), labels) for images, labels in train.reader.read([samples]))
        batches = [train.augmented(samples, epoch) for epoch in range(options.epochs)]
        with plain_letters():
            save_figure(_draw(train, classes, samples, stored, batches), path, "out")
    console.say(f"drawn: {path}: {len(samples)} of {train.count:,} training images, in the first {options.epochs} epochs")
    return path


def _draw(train: Split, classes: tuple[str, ...], samples: np.ndarray, stored: np.ndarray, batches: list[Batch]) -> Any:
    """A row per image: stored, with its label, then augmented in each of `batches`, with both labels where it is mixed."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    down, across = len(samples), 1 + len(batches)
    figure = Figure(figsize=(across * CELL, down * (CELL + TITLE) + HEADING), layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05))
    grid = figure.subplots(down, across, squeeze=False)
    augmented = [train.augmentation.colours(batch.images).cpu().numpy() for batch in batches]
    for row, (sample, image) in enumerate(zip(samples, stored, strict=True)):
        label = classes[int(batches[0].labels[row])]
        _fill(grid[row, 0], image, f"{shortened(label, LABEL)}\nnumber {sample}")
        for column, (batch, images) in enumerate(zip(batches, augmented, strict=True), 1):
            _fill(grid[row, column], images[row], _labels(batch, row, classes))
    for column, axes in enumerate(grid[0]):
        heading = "stored" if column == 0 else f"epoch {column}"
        axes.annotate(heading, (0.5, 1.0), (0, 26), "axes fraction", "offset points", ha="center", fontsize=9)
    return figure


def _fill(axes: Any, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
    axes.set_title(title, fontsize=7)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _labels(batch: Batch, row: int, classes: tuple[str, ...]) -> str:
    """Both labels of a mixed image with their shares; empty where none is mixed."""
    if batch.mix is None:
        return ""
    share = float(batch.mix.shares[row])
    pair = [(share, batch.labels[row]), (1.0 - share, batch.mix.labels[row])]
    return "\n".join(f"{100 * part:.0f} % {shortened(classes[int(label)], LABEL - 5)}" for part, label in pair)
