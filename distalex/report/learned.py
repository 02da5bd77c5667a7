"""What a run's network learned: its test set, its mistakes, its neighbours by the last hidden layer, its first filters."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from distalex import random
from distalex.config.config import Config
from distalex.console import Console
from distalex.data.open import Data
from distalex.evaluate.evaluation import logits_of
from distalex.parallel.mesh import Mesh
from distalex.parallel.start import start_processes
from distalex.predict.neighbours import batches_of, chosen, hidden, images_of, open_album
from distalex.report.options import ReportOptions
from distalex.runs.trained import Trained, load_trained, open_data_of

SHOWN = 8  # images of a row of predictions (Figure 4, left)
QUERIES, NEAREST = 5, 6  # images whose neighbours are shown, and how many of each (Figure 4, right)
BATCH = 250
LARGEST = 128  # side in pixels of an image on the page
PAIRS = 10  # of classes that are taken for each other most


@dataclass(frozen=True)
class Shown:
    """An image on the page and what the network takes it for."""

    image: str
    """A data URI."""
    actual: str
    labels: tuple[str, ...]
    """Up to five, the likeliest first."""
    probabilities: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True)
class Column:
    """The first filters of a column (Figure 3)."""

    image: str
    count: int
    colour: float
    """Mean share of a filter's energy that is colour and not grey."""


@dataclass(frozen=True)
class Learned:
    """What the page shows of one checkpoint."""

    checkpoint: str
    classes: tuple[str, ...]
    tested_on: str
    count: int
    of: int
    """Images that were looked at, of so many."""
    loss: float
    top1: float
    top5: float
    confusion: np.ndarray
    """(classes, classes): how many of the class (row) were taken for each (column)."""
    predictions: tuple[Shown, ...]
    mistakes: tuple[Shown, ...]
    """The surest ones."""
    neighbours: tuple[tuple[Shown, ...], ...]
    """A test image, then the training images nearest to it."""
    searched: int
    """Training images that were searched for these."""

    def confused(self) -> list[tuple[str, str, int]]:
        """Pairs of an actual class and another that it is taken for, the most frequent first."""
        counts = self.confusion.copy()
        np.fill_diagonal(counts, 0)
        places = np.argsort(counts, axis=None)[::-1][:PAIRS]
        pairs = (np.unravel_index(place, counts.shape) for place in places)
        return [(self.classes[row], self.classes[column], int(counts[row, column])) for row, column in pairs if counts[row, column]]


def filters_of(trained: Trained) -> tuple[Column, ...]:
    """The filters of the first convolution, those of each of the network's columns apart."""
    if trained.net.first_layer is None:
        return ()
    weight = trained.net.get_parameter(f"{trained.net.first_layer}.weight").detach().float()
    return tuple(_column(part) for part in weight.chunk(trained.config.model.columns))


def learn(options: ReportOptions, place: str, console: Console) -> Learned:
    """Look at test and training images through the network of the run at `place`. Raises UserError where it or the data are missing."""
    with start_processes(Config(parallel="none", device=options.device)) as mesh:
        trained = load_trained(place, options.runs_dir)
        trained.net.to(device=mesh.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = open_data_of(trained, options.data_root, BATCH, mesh, console)
        with console.showing(), torch.no_grad():
            return _look(trained, data, options, mesh, console)


def _look(trained: Trained, data: Data, options: ReportOptions, mesh: Mesh, console: Console) -> Learned:
    test, classes = data.test, trained.classes
    looked = chosen(test, options.images, trained.config.seed)
    outputs, labels = [], []
    for batch, images in batches_of(test, looked):
        outputs.append(logits_of(trained.net, test.augmentation.test(images.to(mesh.device)), trained.config.train).cpu())
        labels.append(batch)
        console.progress("looking at test images", sum(map(len, outputs)), len(looked))
    console.done("looking at test images")
    logits, actual = torch.cat(outputs), torch.cat(labels)
    shares = logits.softmax(1)
    hits = logits.topk(min(5, len(classes))).indices == actual[:, None]
    wrong = torch.where(hits[:, 0], -1.0, shares.amax(1))
    surest = [int(place) for place in wrong.argsort(descending=True)[:SHOWN] if wrong[place] > 0]
    some = np.sort(random.permutation(random.key(trained.config.seed, "shown"), len(looked))[:SHOWN])

    def shown(places: list[int]) -> tuple[Shown, ...]:
        return tuple(
            _shown(image, int(label), shares[place], classes, f"test image {looked[place]}")
            for place, (image, label) in zip(places, images_of(test, looked[places]), strict=True)
        )

    return Learned(
        trained.path.name,
        classes,
        data.tested_on,
        len(looked),
        test.count,
        float(functional.cross_entropy(logits, actual)),
        100.0 * float(hits[:, 0].float().mean()),
        100.0 * float(hits.sum(1).float().mean()),
        np.bincount(actual.numpy() * len(classes) + logits.argmax(1).numpy(), minlength=len(classes) ** 2).reshape(len(classes), -1),
        shown([int(place) for place in some]),
        shown(surest),
        _neighbours(trained, data, looked[some[:QUERIES]], options.searched, console) if options.searched else (),
        min(options.searched, data.train.count),
    )


def _neighbours(trained: Trained, data: Data, queries: np.ndarray, most: int, console: Console) -> tuple[tuple[Shown, ...], ...]:
    """A test image and the training images nearest to it (Figure 4, right)."""
    wanted = images_of(data.test, queries)
    album = open_album(trained, data.train, most, console.progress)
    stored = torch.from_numpy(np.stack([image for image, _ in wanted]))
    places, apart = album.nearest(hidden(trained, data.test.augmentation, stored), NEAREST)
    rows = []
    for query, (image, label), near, distances in zip(queries, wanted, places.tolist(), apart.tolist(), strict=True):
        row = [Shown(_as_uri(image), trained.classes[label], (), (), f"test image {query}")]
        samples = album.samples[near]
        for (other, actual), sample, distance in zip(images_of(data.train, samples), samples, distances, strict=True):
            row.append(Shown(_as_uri(other), trained.classes[actual], (), (), f"training image {sample}, {distance:.3g} away"))
        rows.append(tuple(row))
    return tuple(rows)


def _shown(image: np.ndarray, label: int, shares: Tensor, classes: tuple[str, ...], note: str) -> Shown:
    probabilities, places = shares.topk(min(5, len(classes)))
    return Shown(_as_uri(image), classes[label], tuple(classes[place] for place in places.tolist()), tuple(probabilities.tolist()), note)


def _as_uri(image: np.ndarray) -> str:
    """An image (side, side, 3) uint8: small ones as they are, larger ones scaled down and as JPEG."""
    drawn = Image.fromarray(image)
    if max(drawn.size) > LARGEST:
        drawn = drawn.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return _uri(drawn, "PNG" if max(drawn.size) <= 48 else "JPEG")


def _uri(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 88} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _column(weight: Tensor) -> Column:
    """An image of filters (n, 3, side, side) in rows of 8, each from its least to its largest weight around grey."""
    grey = weight.mean(1, keepdim=True)
    energy = weight.square().sum((1, 2, 3))
    colour = ((weight - grey).square().sum((1, 2, 3)) / energy.clamp_min(1e-30)).mean()
    scaled = (weight / weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30) + 1) * 127.5
    count, _, side, _ = weight.shape
    across, gap = min(8, count), 1
    down = -(-count // across)
    sheet = np.full((down * (side + gap) - gap, across * (side + gap) - gap, 4), 0, np.uint8)
    for place, filter_ in enumerate(scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()):
        top, left = place // across * (side + gap), place % across * (side + gap)
        sheet[top : top + side, left : left + side, :3] = filter_
        sheet[top : top + side, left : left + side, 3] = 255
    scale = max(1, 320 // sheet.shape[1])
    image = Image.fromarray(sheet).resize((sheet.shape[1] * scale, sheet.shape[0] * scale), Image.Resampling.NEAREST)
    return Column(_uri(image, "PNG"), count, float(colour))


def drawn_confusion(shares: np.ndarray) -> str:
    """Shares of each row (classes, classes) as an image, a pixel or more a pair, the brighter the larger by its root."""
    from matplotlib import colormaps

    pixels = (colormaps["viridis"](np.sqrt(shares))[:, :, :3] * 255).round().astype(np.uint8)
    scale = max(1, 500 // len(shares))
    return _uri(Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)), "PNG")
