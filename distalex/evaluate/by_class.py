"""Precision, recall and F1 by class, from the counts of an exact evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from distalex.console import aligned


@dataclass(frozen=True)
class ClassScore:
    """How well the images of one class are recognised. A class without test images has none but `predicted`."""

    name: str
    precision: float | None
    """Percent of the images predicted as this class that are of it; 0 where none is predicted so."""
    recall: float | None
    """Percent of the images of this class that are predicted so."""
    f1: float | None
    """Harmonic mean of both, in percent."""
    images: int
    """Test images of this class."""
    predicted: int
    """Test images predicted as this class."""


@dataclass(frozen=True)
class ClassScores:
    """The scores of every class, and their means over the classes that have test images, each class counted alike (macro averages)."""

    classes: tuple[ClassScore, ...]
    """In the network's order."""
    precision: float
    """Mean precision, in percent."""
    balanced_accuracy: float
    """Mean recall, in percent."""
    f1: float
    """Mean F1, in percent."""

    def describe(self) -> str:
        """Format the means, e.g. `balanced accuracy 91.20 %  macro precision 90.80 %  macro F1 90.90 %`."""
        return f"balanced accuracy {self.balanced_accuracy:.2f} %  macro precision {self.precision:.2f} %  macro F1 {self.f1:.2f} %"

    def table(self) -> str:
        """Format a line for each class: precision, recall, F1, its images, and the images predicted as it."""
        head = ("class", "precision %", "recall %", "F1 %", "images", "predicted")
        rows = [
            (one.name, *map(_plain, (one.precision, one.recall, one.f1)), f"{one.images:,}", f"{one.predicted:,}") for one in self.classes
        ]
        return aligned([head, *rows])

    def numbers(self) -> dict[str, Any]:
        """Return the fields of evaluation.json."""
        return {
            "balanced_accuracy": self.balanced_accuracy,
            "macro_precision": self.precision,
            "macro_f1": self.f1,
            "by_class": [asdict(one) for one in self.classes],
        }


def score_classes(confusion: Tensor, classes: Sequence[str]) -> ClassScores:
    """Score each class from counts (classes, classes) int64: images of each actual class (row) by predicted class (column)."""
    scores = []
    for name, right, images, predicted in zip(
        classes, confusion.diagonal().tolist(), confusion.sum(1).tolist(), confusion.sum(0).tolist(), strict=True
    ):
        shares = right / max(1, predicted), right / max(1, images), 2 * right / max(1, images + predicted)
        precision, recall, f1 = (100.0 * share if images else None for share in shares)
        scores.append(ClassScore(name, precision, recall, f1, images, predicted))
    known = [one for one in scores if one.images]
    means = [sum(values) / max(1, len(known)) for values in ([getattr(one, key) for one in known] for key in ("precision", "recall", "f1"))]
    return ClassScores(tuple(scores), *means)


def _plain(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
