"""What a network predicts of stored images."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distalex import random
from distalex.data.open import Data
from distalex.evaluate.evaluation import logits_of
from distalex.runs.trained import Trained

SHOWN = 5  # labels of a prediction


@dataclass(frozen=True)
class Prediction:
    """What a network takes one image for."""

    name: str
    labels: tuple[str, ...]
    """Up to five, the likeliest first."""
    probabilities: tuple[float, ...]
    actual: str | None = None
    neighbours: tuple[str, ...] = ()
    """Labels of the training images nearest by the last hidden layer, where they were asked for."""

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


def some_of(data: Data, seed: int, count: int) -> tuple[Tensor, list[str], list[str]]:
    """`count` of the test images, or all of fewer, chosen by `seed`: (n, side, side, 3) uint8, names and actual labels."""
    chosen = np.sort(random.permutation(random.key(seed, "shown"), data.test.count)[:count])
    ((images, labels),) = list(data.test.reader.read([chosen]))
    return images.cpu().clone(), [f"test {sample}" for sample in chosen], [data.classes[label] for label in labels.tolist()]


@torch.no_grad()
def predict(
    trained: Trained,
    images: Tensor,
    names: list[str],
    actual: list[str] | None = None,
) -> list[Prediction]:
    """Predictions for stored images (n, side, side, 3) uint8."""
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
