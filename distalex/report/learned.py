"""What a run's network learned: predictions, mistakes and confusion on the test set, nearest neighbours, filters."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from distalex.console import Console
from distalex.data.open import Data
from distalex.data.order import choose
from distalex.data.pipeline import Split
from distalex.evaluate.evaluation import likeliest, logits_of, places_of
from distalex.parallel.mesh import Mesh
from distalex.parallel.start import start_processes
from distalex.predict.neighbours import features_of, index_features
from distalex.report.options import ReportOptions
from distalex.runs.trained import Trained, load_trained, open_data_of

ROW = 8
"""Images of a row of predictions (Figure 4, left)."""
QUERIES, NEAREST = 5, 6
"""Test images whose neighbours are shown, and neighbours of each (Figure 4, right)."""
BATCH_SIZE = 250
LARGEST = 128
"""Largest side in pixels of an image on the page."""
PAIRS = 10
"""Most pairs of confused classes."""


@dataclass(frozen=True)
class ShownImage:
    """An image on the page, with its prediction."""

    image: str
    """A data URI."""
    actual: str
    """The actual label."""
    labels: tuple[str, ...]
    """Up to five classes, the likeliest first; empty for a neighbour."""
    probabilities: tuple[float, ...]
    """Of `labels`, from 0 to 1."""
    note: str = ""
    """Which sample it is."""


@dataclass(frozen=True)
class ColumnFilters:
    """The filters of the first convolution in one column (Figure 3)."""

    image: str
    """A data URI."""
    count: int
    """Number of filters."""
    colour: float
    """Mean share of a filter's energy (squared weights) that is colour and not grey."""


@dataclass(frozen=True)
class Learned:
    """What one checkpoint's network does on its test set, and which images it finds similar."""

    checkpoint: str
    """File name."""
    classes: tuple[str, ...]
    """Their names, in order."""
    tested_on: str
    """`test` or `validation`."""
    count: int
    """Images predicted."""
    of: int
    """Images of the test set."""
    loss: float
    """Mean cross-entropy."""
    top1: float
    """Percent."""
    top5: float
    """Percent."""
    confusion: np.ndarray
    """(classes, classes) int64: images of each actual class (row) by predicted class (column)."""
    predictions: tuple[ShownImage, ...]
    """Chosen by the seed."""
    mistakes: tuple[ShownImage, ...]
    """Wrong predictions with the highest probabilities."""
    neighbours: tuple[tuple[ShownImage, ...], ...]
    """Rows of a test image and the training images nearest to it, the nearest first."""
    searched: int
    """Training images searched."""

    def confused(self) -> list[tuple[str, str, int]]:
        """Return the most frequent confusions as (actual class, predicted class, images), the most frequent first."""
        counts = self.confusion.copy()
        np.fill_diagonal(counts, 0)
        places = np.argsort(counts, axis=None)[::-1][:PAIRS]
        pairs = (np.unravel_index(place, counts.shape) for place in places)
        return [(self.classes[row], self.classes[column], int(counts[row, column])) for row, column in pairs if counts[row, column]]


def filters_of(trained: Trained) -> tuple[ColumnFilters, ...]:
    """Draw the filters of the first convolution, separately for each column of the network; none where it has no such layer."""
    if trained.net.first_layer is None:
        return ()
    weight = trained.net.get_parameter(f"{trained.net.first_layer}.weight").detach().float()
    if weight.dim() != 4 or weight.shape[1] != 3:
        return ()
    return tuple(_column(part) for part in weight.chunk(trained.config.model.columns))


def colour_of(weight: Tensor) -> Tensor:
    """Return the share (n,) of the energy (squared weights) of each filter (n, 3, side, side) that is colour and not grey."""
    grey, energy = weight.mean(1, keepdim=True), weight.square().sum((1, 2, 3))
    return (weight - grey).square().sum((1, 2, 3)) / energy.clamp_min(1e-30)


def learn(options: ReportOptions, place: str, console: Console) -> Learned:
    """Run the network of the run or checkpoint at `place` on test and training images.

    Raises UserError where it or the data are missing, and TrainingError where outputs are not finite.
    """
    with start_processes("none", device=options.device) as mesh:
        trained = load_trained(place, options.runs_dir)
        trained.to(mesh.device)
        data = open_data_of(trained, options, BATCH_SIZE, mesh, console)
        with console.showing(), torch.no_grad():
            return _learned(trained, data, options, mesh, console)


def _learned(trained: Trained, data: Data, options: ReportOptions, mesh: Mesh, console: Console) -> Learned:
    test, classes, mirror = data.test, trained.classes, trained.config.train.mirror_test
    chosen = choose(test.count, options.images, trained.config.seed)
    outputs, labels = [], []
    for images, batch in test.read(chosen):
        outputs.append(logits_of(trained.net, test.augmentation.test(images.to(mesh.device)), mirror).cpu())
        labels.append(batch.clone())
        console.progress("predicting test images", sum(map(len, outputs)), len(chosen))
    console.done("predicting test images")
    logits, actual = torch.cat(outputs), torch.cat(labels)
    trained.require_finite(logits)
    shares = logits.softmax(1)
    ranks, predicted = places_of(logits, actual), logits.argmax(1)
    wrong = torch.where(ranks < 1, -1.0, shares.amax(1))
    surest = [int(place) for place in wrong.argsort(descending=True)[:ROW] if wrong[place] > 0]
    some = choose(len(chosen), ROW, trained.config.seed)

    def shown(places: list[int]) -> tuple[ShownImage, ...]:
        return tuple(
            _shown(image, int(label), shares[place], classes, data.place("test", chosen[place]))
            for place, (image, label) in zip(places, _read(test, chosen[places]), strict=True)
        )

    return Learned(
        checkpoint=trained.path.name,
        classes=classes,
        tested_on=data.tested_on,
        count=len(chosen),
        of=test.count,
        loss=float(functional.cross_entropy(logits, actual)),
        top1=100.0 * float((ranks < 1).float().mean()),
        top5=100.0 * float((ranks < 5).float().mean()),
        confusion=np.bincount((actual * len(classes) + predicted).numpy(), minlength=len(classes) ** 2).reshape(len(classes), -1),
        predictions=shown(some.tolist()),
        mistakes=shown(surest),
        neighbours=_neighbours(trained, data, chosen[some[:QUERIES]], options.searched, console)
        if options.searched and trained.net.classifier
        else (),
        searched=min(options.searched, data.train.count),
    )


def _neighbours(trained: Trained, data: Data, queries: np.ndarray, most: int, console: Console) -> tuple[tuple[ShownImage, ...], ...]:
    """A test image and the training images nearest to it (Figure 4, right)."""
    wanted = _read(data.test, queries)
    index = index_features(trained, data.train, most, console.progress)
    stored = torch.from_numpy(np.stack([image for image, _ in wanted]))
    places, apart = index.nearest(features_of(trained, data.test.augmentation, stored), NEAREST)
    rows = []
    for query, (image, label), near, distances in zip(queries, wanted, places.tolist(), apart.tolist(), strict=True):
        row = [ShownImage(_as_uri(image), trained.classes[label], (), (), data.place("test", query))]
        samples = index.samples[near]
        for (other, actual), sample, distance in zip(_read(data.train, samples), samples, distances, strict=True):
            row.append(ShownImage(_as_uri(other), trained.classes[actual], (), (), f"{data.place('train', sample)}, {distance:.3g} away"))
        rows.append(tuple(row))
    return tuple(rows)


def _read(split: Split, samples: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The stored image (side, side, 3) uint8 and the label of each sample."""
    return [
        (image.copy(), int(label)) for images, labels in split.read(samples) for image, label in zip(images.numpy(), labels, strict=True)
    ]


def _shown(image: np.ndarray, label: int, shares: Tensor, classes: tuple[str, ...], note: str) -> ShownImage:
    places = likeliest(shares[None], 5)[0]
    probabilities = shares[places]
    return ShownImage(
        _as_uri(image), classes[label], tuple(classes[place] for place in places.tolist()), tuple(probabilities.tolist()), note
    )


def _as_uri(image: np.ndarray) -> str:
    """A stored image (side, side, 3) uint8 as a data URI: a small one as PNG, others as JPEG, scaled down to LARGEST."""
    drawn = Image.fromarray(image)
    if max(drawn.size) > LARGEST:
        drawn = drawn.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return _uri(drawn, "PNG" if max(drawn.size) <= 48 else "JPEG")


def _uri(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 88} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _column(weight: Tensor) -> ColumnFilters:
    """Draw filters (n, 3, side, side) in rows of 8; zero is grey, and each is scaled by its largest absolute weight."""
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
    return ColumnFilters(_uri(image, "PNG"), count, float(colour_of(weight).mean()))


def draw_confusion(shares: np.ndarray) -> str:
    """Draw the shares of each row (classes, classes) as a data URI of an image, one or more pixels a pair, brighter by the root."""
    from matplotlib import colormaps

    pixels = (colormaps["viridis"](np.sqrt(shares))[:, :, :3] * 255).round().astype(np.uint8)
    scale = max(1, 500 // len(shares))
    return _uri(Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)), "PNG")
