"""A contact sheet: stored images beside what training sees of them, as `python -m distalex.prepare show`."""

from pathlib import Path
from typing import Any

import numpy as np

from distalex import random
from distalex.config.config import Config
from distalex.console import Console
from distalex.data.batches import Batch
from distalex.data.open import Data, open_data
from distalex.errors import UserError
from distalex.files import FIGURE_SUFFIXES
from distalex.parallel.start import start_processes
from distalex.prepare.options import ShowOptions

CELL = 1.7  # inches
TITLE = 0.3  # inches of two lines of labels above each
HEADING = 0.25  # inches of epochs above all


def show(options: ShowOptions, config: Config) -> Path:
    """Draw some training images of `config`, and what its first epochs see of each. Raises UserError."""
    path = Path(options.out)
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise UserError(f"out={options.out}: the name of an image to draw is needed, ending in one of {', '.join(FIGURE_SUFFIXES)}")
    console = Console()
    with start_processes(config) as mesh, console.showing():
        data = open_data(_training_only(config, options.count), mesh, console.say, console.progress)
        count = min(options.count, data.train.count)
        samples = np.sort(random.permutation(random.key(config.seed, "shown"), data.train.count)[:count])
        ((stored, _),) = ((images.numpy().copy(), labels) for images, labels in data.train.reader.read([samples]))
        batches = [data.train.seen(samples, epoch) for epoch in range(options.views)]
        figure = _draw(data, samples, stored, batches)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UserError(f"out={path}: cannot be written ({error.strerror or error}); give another place") from None
    console.say(f"drawn: {path}: {count} of {data.train.count:,} training images, in the first {options.views} epochs")
    return path


def _training_only(config: Config, count: int) -> Config:
    """`config` in batches of `count`; where it names prepared files, the test file need not exist."""
    data = config.data.model_copy(update={"test": config.data.train, "cache": "none"})
    train = config.train.model_copy(update={"batch_size": count, "eval_batch_size": None, "accumulate": 1})
    return config.model_copy(update={"data": data, "train": train})


def _draw(data: Data, samples: np.ndarray, stored: np.ndarray, batches: list[Batch]) -> Any:
    """A row for each image: as stored with its label, then as each batch has it, with both labels where it is mixed."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    down, across = len(samples), 1 + len(batches)
    figure = Figure(figsize=(across * CELL, down * (CELL + TITLE) + HEADING), layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05))
    grid = figure.subplots(down, across, squeeze=False)
    views = [data.train.views.colours(batch.images).cpu().numpy() for batch in batches]
    for row, (sample, image) in enumerate(zip(samples, stored, strict=True)):
        label = data.classes[int(batches[0].labels[row])]
        _fill(grid[row, 0], image, f"{_short(label)}\nnumber {sample}")
        for column, (batch, seen) in enumerate(zip(batches, views, strict=True), 1):
            _fill(grid[row, column], seen[row], _labels(batch, row, data.classes))
    for column, axes in enumerate(grid[0]):
        heading = "stored" if column == 0 else f"epoch {column - 1}"
        axes.annotate(heading, (0.5, 1.0), (0, 26), "axes fraction", "offset points", ha="center", fontsize=9)
    return figure


def _fill(axes: Any, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
    axes.set_title(title, fontsize=7)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _labels(batch: Batch, row: int, classes: tuple[str, ...]) -> str:
    """Of a mixed image both labels, with their shares."""
    if batch.mix is None:
        return ""
    share = float(batch.mix.shares[row])
    pair = [(share, batch.labels[row]), (1.0 - share, batch.mix.labels[row])]
    return "\n".join(f"{100 * part:.0f} % {_short(classes[int(label)])}" for part, label in pair)


def _short(label: str) -> str:
    return label if len(label) <= 20 else f"{label[:19]}…"
