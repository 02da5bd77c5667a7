"""What a trained network sees in pictures: labels with probabilities, and a drawing of them."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex import random
from distalex.config import config
from distalex.console import Console
from distalex.data.images import is_picture, open_picture, square
from distalex.data.open import Pictures
from distalex.data.sources.archives import read_file
from distalex.errors import UserError
from distalex.evaluate.evaluation import Trained, load_trained, logits_of, open_data_of
from distalex.parallel.start import Mesh, start_processes
from distalex.parallel.topology import cores
from distalex.predict.neighbours import Album, hidden, open_album

Batch = tuple[Tensor, list[str], list[str] | None]
"""Stored pictures (n, side, side, 3) uint8, their names, and their actual labels where these are known."""
SHOWN = 5  # labels of a prediction
BATCH = 256
DRAWN = 100  # pictures of a drawing at most


@dataclass(frozen=True)
class Prediction:
    """What a network takes one picture for."""

    name: str
    labels: tuple[str, ...]
    """Up to five, the likeliest first."""
    probabilities: tuple[float, ...]
    actual: str | None = None
    neighbours: tuple[str, ...] = ()
    """Labels of the training pictures nearest by the last hidden layer, where they were asked for."""

    def line(self) -> str:
        """E.g. `cat.jpg: cat 93.1 %, dog 4.0 %, …`, with the actual label where it is known."""
        near = f"; nearest: {', '.join(self.neighbours)}" if self.neighbours else ""
        listed = ", ".join(f"{label} {100 * share:.1f} %" for label, share in zip(self.labels, self.probabilities, strict=True))
        if self.actual is None:
            return f"{self.name}: {listed}{near}"
        verdict = "right" if self.actual == self.labels[0] else "wrong"
        return f"{self.name}: predicted {self.labels[0]} ({100 * self.probabilities[0]:.1f} %), actual {self.actual} - {verdict}{near}"

    def json(self) -> str:
        return json.dumps({key: value for key, value in self.__dict__.items() if key != "neighbours" or value})

    def cells(self) -> list[str]:
        """A row of CSV: name, actual, labels and probabilities in turn, then the nearest labels."""
        pairs = [(label, f"{share:.6f}") for label, share in zip(self.labels, self.probabilities, strict=True)]
        return [self.name, self.actual or "", *(cell for pair in pairs for cell in pair), *self.neighbours]


def predict_run(options: config.PredictOptions) -> list[Prediction]:
    """`python -m distalex.predict RUN [IMAGE …]`. Raises UserError where a named file is no picture."""
    if options.save and Path(options.save).suffix.lower() not in config.DRAWN_AS:
        raise UserError(f"save={options.save}: the name of a picture to draw is needed, ending in one of {', '.join(config.DRAWN_AS)}")
    console = Console(not (options.json_lines or options.csv))
    names = pictures_named(options.images)
    found: list[Prediction] = []
    drawn: list[Tensor] = []
    with start_processes(config.Config(parallel="none", device=options.device)) as mesh:
        trained = load_trained(options.run, options.runs_dir)
        trained.net.to(device=mesh.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches: Iterator[Batch]
        if names:
            batches = read_pictures(names, trained.state["side"], trained.state.get("resize", "short_side"))
        else:
            batches = iter([pick_test_pictures(trained, options, mesh, console)])
        album = _album(trained, options, mesh, console) if options.neighbours else None
        writer = csv.writer(sys.stdout)
        if options.csv:
            ranks = range(1, min(SHOWN, len(trained.classes)) + 1)
            nearest = [f"neighbour{place}" for place in range(1, min(options.neighbours, len(album.samples)) + 1)] if album else []
            writer.writerow(["name", "actual", *(f"{kind}{rank}" for rank in ranks for kind in ("label", "probability")), *nearest])
        for images, called, actual in batches:
            predictions = predict(trained, images, called, actual)
            if album is not None:
                places, _ = album.nearest(hidden(trained, trained.views(mesh.device), images), options.neighbours)
                near = [tuple(trained.classes[album.labels[place]] for place in row) for row in places.tolist()]
                predictions = [replace(prediction, neighbours=labels) for prediction, labels in zip(predictions, near, strict=True)]
            for prediction in predictions:
                if options.csv:
                    writer.writerow(prediction.cells())
                else:
                    print(prediction.json() if options.json_lines else prediction.line())
            found += predictions
            if options.save and len(drawn) < DRAWN:
                drawn += list(images.clone())
    if not found:
        raise UserError(f"{' '.join(options.images[:3])}: none of the {len(names)} file(s) is a readable picture")
    known = [prediction for prediction in found if prediction.actual]
    if known:
        right = sum(prediction.actual == prediction.labels[0] for prediction in known)
        console.say(f"{right} of {len(known)} right")
    if options.save:
        draw(found[: min(len(drawn), DRAWN)], torch.stack(drawn[:DRAWN]), Path(options.save))
        console.say(f"drawn: {options.save}{f', the first {DRAWN}' if len(found) > DRAWN else ''}")
    return found


class Named(NamedTuple):
    """A picture file that the command line means."""

    name: str
    typed: bool
    """Whether by its own name, so that it has to be a picture, and not by its folder or a pattern."""


def pictures_named(images: Sequence[str]) -> list[Named]:
    """The files that words of the command line mean: files, all pictures in folders, patterns. Raises UserError where one means none."""
    names: list[Named] = []
    for word in images:
        if "://" in word:
            raise UserError(f"{word}: distalex reads files and fetches nothing; get it first, e.g. with: curl -O {word}")
        if Path(word).is_dir():
            inside = sorted(str(path) for path in Path(word).rglob("*") if is_picture(path.name) and path.is_file())
            if not inside:
                raise UserError(f"{word}: no picture in this folder; pictures end in .jpg, .png, .webp and the like")
            names += [Named(name, False) for name in inside]
        elif glob.has_magic(word) and not Path(word).exists():
            matching = sorted(glob.glob(word, recursive=True))
            if not matching:
                raise UserError(f"{word}: no file has such a name")
            names += [Named(name, False) for name in matching]
        else:
            names.append(Named(word, True))
    return names


def read_pictures(names: Sequence[Named], side: int, resize: str) -> Iterator[Batch]:
    """Picture files in batches. Raises UserError for one that was typed and is none; others that are none are told and left out."""

    def read(one: Named) -> np.ndarray | None:
        try:
            return read_picture(one.name, side, resize)
        except UserError as error:
            if one.typed:
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            return None

    rest = iter(names)
    with ThreadPoolExecutor(cores()) as readers:
        while part := list(islice(rest, BATCH)):
            pictures = [(image, one.name) for image, one in zip(readers.map(read, part), part, strict=True) if image is not None]
            if pictures:
                yield torch.from_numpy(np.stack([image for image, _ in pictures])), [name for _, name in pictures], None


def read_picture(name: str, side: int, resize: str) -> np.ndarray:
    """A picture file, `-` for the standard input, as stored pictures are: (side, side, 3) uint8. Raises UserError."""
    try:
        return square(open_picture(sys.stdin.buffer.read() if name == "-" else read_file(Path(name))), side, resize)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: not a readable picture ({error.strerror or error})") from None


def _album(trained: Trained, options: config.PredictOptions, mesh: Mesh, console: Console) -> Album:
    """Of the run's training pictures."""
    pictures = open_data_of(trained, options.data_root, BATCH, mesh, console)
    with console.showing():
        return open_album(trained, pictures.train, options.searched, console.progress)


def pick_test_pictures(
    trained: Trained, options: config.PredictOptions, mesh: Mesh, console: Console
) -> tuple[Tensor, list[str], list[str]]:
    """Some of the run's test set, chosen by its seed: pictures, names and actual labels."""
    return some_of(open_data_of(trained, options.data_root, options.count, mesh, console), trained.config.seed, options.count)


def some_of(pictures: Pictures, seed: int, count: int) -> tuple[Tensor, list[str], list[str]]:
    """`count` of the test pictures, or all of fewer, chosen by `seed`: (n, side, side, 3) uint8, names and actual labels."""
    chosen = np.sort(random.permutation(random.key(seed, "shown"), pictures.test.count)[:count])
    ((images, labels),) = list(pictures.test.reader.read([chosen]))
    return images.cpu().clone(), [f"test {sample}" for sample in chosen], [pictures.classes[label] for label in labels.tolist()]


@torch.no_grad()
def predict(
    trained: Trained,
    images: Tensor,
    names: list[str],
    actual: list[str] | None = None,
) -> list[Prediction]:
    """Predictions for stored pictures (n, side, side, 3) uint8."""
    device = next(trained.net.parameters()).device
    views = trained.views(device)
    logits = torch.cat([logits_of(trained.net, views.test(part.to(device)), trained.config.train) for part in images.split(256)])
    probabilities, classes = logits.softmax(1).topk(min(SHOWN, len(trained.classes)))
    return [
        Prediction(
            name,
            tuple(trained.classes[index] for index in row),
            tuple(shares),
            actual[number] if actual else None,
        )
        for number, (name, row, shares) in enumerate(zip(names, classes.tolist(), probabilities.tolist(), strict=True))
    ]


def draw(predictions: list[Prediction], images: Tensor, path: Path) -> None:
    """The pictures in a grid, each with its label beside the actual one (green right, red wrong) and top-5 bars (Figure 4)."""
    from matplotlib.figure import Figure

    across = min(4, len(predictions))
    down = -(-len(predictions) // across)
    figure = Figure(figsize=(across * 2.6, down * 3.4), layout="constrained")
    grid = figure.subplots(down * 2, across, squeeze=False, height_ratios=[2, 1] * down)
    for axes in grid.flat:
        axes.axis("off")
    for number, (prediction, image) in enumerate(zip(predictions, images.numpy(), strict=True)):
        picture, bars = grid[number // across * 2][number % across], grid[number // across * 2 + 1][number % across]
        right = prediction.actual in (None, prediction.labels[0])
        picture.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
        actual = "" if prediction.actual is None else f"\nactual: {prediction.actual}"
        label = prediction.labels[0] if actual else f"{Path(prediction.name).name}: {prediction.labels[0]}"
        picture.set_title(f"predicted: {label}{actual}" if actual else label, fontsize=9, color="darkgreen" if right else "firebrick")
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
