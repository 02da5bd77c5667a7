"""Predictions of a network on stored images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from distalex.data.open import Data
from distalex.data.order import choose
from distalex.evaluate.evaluation import likeliest, logits_of
from distalex.predict.images import StoredImages
from distalex.runs.trained import Trained

TOP = 5
"""Most labels of a prediction."""


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image."""

    name: str
    """Of the image."""
    labels: tuple[str, ...]
    """Up to TOP classes, the likeliest first."""
    probabilities: tuple[float, ...]
    """Of `labels`, from 0 to 1."""
    actual: str | None = None
    """The actual label, where known."""
    neighbours: tuple[str, ...] = ()
    """Labels of the nearest training images, where requested."""

    def __repr__(self) -> str:
        return f"<{self.line()}>"

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """Of `label`, from 0 to 1."""
        return self.probabilities[0]

    @property
    def top(self) -> list[tuple[str, float]]:
        """Classes with their probabilities, the likeliest first."""
        return list(zip(self.labels, self.probabilities, strict=True))

    def line(self) -> str:
        """Format for people, e.g. `cat.jpg: cat 93.1 %, dog 4.0 %, …`, with the actual label where known."""
        nearest = f"; nearest: {', '.join(self.neighbours)}" if self.neighbours else ""
        if self.actual is None:
            listed = ", ".join(f"{label} {100 * share:.1f} %" for label, share in zip(self.labels, self.probabilities, strict=True))
            return f"{self.name}: {listed}{nearest}"
        verdict = "right" if self.actual == self.labels[0] else "wrong"
        return f"{self.name}: predicted {self.labels[0]} ({100 * self.probabilities[0]:.1f} %), actual {self.actual} - {verdict}{nearest}"

    def json(self) -> str:
        """Format as one line of JSON with the fields of this class; without `neighbours` where none were requested."""
        return json.dumps({key: value for key, value in self.__dict__.items() if key != "neighbours" or value})

    def cells(self) -> list[str]:
        """Format as a row of CSV: name, actual label, each label with its probability, then the nearest labels."""
        pairs = [(label, f"{share:.6f}") for label, share in zip(self.labels, self.probabilities, strict=True)]
        return [self.name, self.actual or "", *(cell for pair in pairs for cell in pair), *self.neighbours]


def choose_test_images(data: Data, seed: int, count: int) -> StoredImages:
    """Choose `count` test images by `seed`, or all of fewer, in order of samples; a name is the image's file, or `test SAMPLE`."""
    samples = choose(data.test.count, count, seed)
    images, labels = zip(*((images.cpu().clone(), labels.tolist()) for images, labels in data.test.read(samples)), strict=True)
    actual = [data.classes[label] for label in chain.from_iterable(labels)]
    return StoredImages(torch.cat(images), [data.place("test", sample) for sample in samples], actual)


@torch.no_grad()
def predict_images(trained: Trained, images: Tensor, names: list[str], actual: list[str] | None = None, top: int = TOP) -> list[Prediction]:
    """Predict the `top` likeliest classes of stored images (n, side, side, 3) uint8 on the network's device.

    `names` and `actual` labels are passed on.

    Raises TrainingError where outputs are not finite.
    """
    device = next(trained.net.parameters()).device
    augmentation, mirror = trained.augmentation(device), trained.config.train.mirror_test
    logits = torch.cat([logits_of(trained.net, augmentation.test(batch.to(device)), mirror) for batch in images.split(256)])
    trained.require_finite(logits)
    classes = likeliest(logits, top)
    probabilities = logits.softmax(1).gather(1, classes)
    return [
        Prediction(name, tuple(trained.classes[index] for index in row), tuple(shares), actual[number] if actual else None)
        for number, (name, row, shares) in enumerate(zip(names, classes.tolist(), probabilities.tolist(), strict=True))
    ]
