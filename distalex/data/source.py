"""A source: the labelled images of a split by number, in a fixed order, so that a sample has one number whichever loader reads it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from distalex import random
from distalex.data.images import square
from distalex.errors import UserError

SKIP = "fix or remove it, or skip such files with --skip_bad (train: --data.skip_bad=true)"


class BadImage(UserError):
    """A file is not a readable image."""


@dataclass(frozen=True)
class Source:
    """One split of a data set."""

    name: str
    """Of the data set or kind of source."""
    split: str
    """`train`, `test`, or `all` where there is no test set."""
    classes: tuple[str, ...]
    labels: np.ndarray
    """(n,) int64: the class of each sample."""
    open: Callable[[int], Image.Image]
    """The image of a sample in its original size. Raises OSError where it is not readable."""
    places: Callable[[int], str]
    """Path or other origin of a sample, for messages."""
    stamps: Callable[[int], str]
    """A text that changes with the image of a sample: the size of its file, `/` and its time; or a digest."""
    side: int
    """Side in pixels of the square that `image` gives."""
    origin: str
    """What the split was opened from, such as a folder."""
    resize: str = "short_side"
    """Which side of an image is scaled to `side`; see `images.square`."""

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, sample: int) -> np.ndarray:
        """(side, side, 3) uint8: RGB, resized as `images.square` says.

        Raises BadImage, a UserError, naming the file, where it is not a readable image.
        """
        try:
            return square(self.open(sample), self.side, self.resize)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadImage(f"{self.places(sample)}: not a readable image ({reason}); {SKIP}") from None

    @property
    def fingerprint(self) -> str:
        """A digest of this split: it differs where files, their times and sizes, their order, labels, or the stored size do."""
        digest = hashlib.blake2b(digest_size=6)
        for part in (
            os.path.abspath(self.origin) if os.path.exists(self.origin) else self.origin,
            self.name,
            self.split,
            self.side,
            *([self.resize] if self.resize != "short_side" else []),
            *self.classes,
        ):
            digest.update(f"{part}\0".encode())
        digest.update(self.labels.tobytes())
        for sample in range(len(self)):
            digest.update(f"{self.places(sample)}\0{self.stamps(sample)}\0".encode())
        return digest.hexdigest()

    def select(self, samples: np.ndarray, split: str) -> Source:
        """The split named `split` of the samples with these numbers, numbered in their order."""
        open_, places, stamps = self.open, self.places, self.stamps
        return replace(
            self,
            split=split,
            labels=self.labels[samples],
            open=lambda sample: open_(int(samples[sample])),
            places=lambda sample: places(int(samples[sample])),
            stamps=lambda sample: stamps(int(samples[sample])),
        )

    def shuffled(self) -> Source:
        """Shuffle the samples once; sources list them by class."""
        return self.select(random.permutation(random.key(0, "listing", self.split), len(self)), self.split)


def of_arrays(name: str, split: str, classes: tuple[str, ...], pixels: np.ndarray, labels: np.ndarray, side: int, origin: str) -> Source:
    """A source of images in memory: `pixels` (n, height, width, 3) uint8 and `labels` (n,) int64."""
    content = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=6).hexdigest()
    return Source(
        name,
        split,
        classes,
        labels,
        open=lambda sample: Image.fromarray(pixels[sample]),
        places=lambda sample: f"{origin} {split} {sample}",
        stamps=lambda sample: content,
        side=side,
        origin=origin,
    )


def hold_out(source: Source, fraction: float) -> tuple[Source, Source]:
    """Training and test split, the latter with `fraction` of every class (at least one image), chosen by key. 0: both have all images.

    Raises UserError for a class with a single image, which cannot be in both.
    """
    if not fraction:
        return replace(source, split="train"), replace(source, split="test")
    test: list[int] = []
    for label, members in enumerate(_shuffled_classes(source, "holdout")):
        if len(members) < 2:
            raise UserError(
                f"{source.origin}: class {source.classes[label]} has {len(members)} image(s); two are needed where a test set is held "
                "out; add some, or test on the training images with --data.holdout=0"
            )
        test += members[: min(len(members) - 1, max(1, round(len(members) * fraction)))].tolist()
    held = np.zeros(len(source), dtype=bool)
    held[test] = True
    return source.select(np.flatnonzero(~held), "train"), source.select(np.flatnonzero(held), "test")


def a_share_of(source: Source, fraction: float) -> Source:
    """`source` with `fraction` of every class (at least one image), chosen by key; a larger share contains a smaller one."""
    kept = [members[: max(1, round(len(members) * fraction))] for members in _shuffled_classes(source, "fraction")]
    return source.select(np.sort(np.concatenate(kept)), source.split)


def _shuffled_classes(source: Source, purpose: str) -> list[np.ndarray]:
    """The samples of each class, in an order keyed by `purpose`."""
    order = random.permutation(random.key(0, purpose), len(source))
    labels = source.labels[order]
    by_class = np.argsort(labels, kind="stable")
    return np.split(order[by_class], np.searchsorted(labels[by_class], np.arange(1, len(source.classes))))
