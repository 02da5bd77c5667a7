"""Images that are alike to a network: near to each other by its last hidden layer (Section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from distalex import random
from distalex.data.augment.augmentation import Augmentation
from distalex.data.pipeline import Split
from distalex.evaluate.evaluation import logits_of
from distalex.runs.trained import Trained

BATCH = 250


class Album(NamedTuple):
    """Images of a split that can be searched."""

    samples: np.ndarray
    """(n,) their numbers in the split."""
    labels: tuple[int, ...]
    features: Tensor
    """(n, units) what the last hidden layer makes of them."""

    def nearest(self, wanted: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """For features (m, units) the places in the album, (m, count), of the nearest by Euclidean distance, and the distances."""
        apart, places = torch.cdist(wanted, self.features).topk(min(count, len(self.samples)), largest=False)
        return places, apart


def open_album(trained: Trained, split: Split, most: int, progress: Callable[[str, int, int], None]) -> Album:
    """The images of `split`, or `most` of them chosen by the run's seed, as `trained` sees them."""
    samples = chosen(split, most, trained.config.seed)
    labels: list[int] = []
    features = []
    for part, stored in batches_of(split, samples):
        labels += part.tolist()
        features.append(hidden(trained, split.augmentation, stored))
        progress("looking at training images", len(labels), len(samples))
    return Album(samples, tuple(labels), torch.cat(features))


@torch.no_grad()
def hidden(trained: Trained, views: Augmentation, images: Tensor) -> Tensor:
    """What the classifier reads, (n, units), of stored images (n, side, side, 3) uint8 seen through `views`."""
    centre_only = trained.config.train.model_copy(update={"mirror_test": False})
    with _reading(trained.net.get_submodule(trained.net.classifier)) as read:
        for part in images.split(BATCH):
            logits_of(trained.net, views.test(part.to(views.device)), centre_only)
    return torch.cat(read).float().cpu()


@contextmanager
def _reading(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What `layer` is given meanwhile."""
    read: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    try:
        yield read
    finally:
        handle.remove()


def chosen(split: Split, most: int, seed: int) -> np.ndarray:
    """Numbers of all images of a split, or of `most` chosen by the seed, in order."""
    if split.count <= most:
        return np.arange(split.count)
    return np.sort(random.permutation(random.key(seed, "shown"), split.count)[:most])


def batches_of(split: Split, samples: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels and stored images (n, side, side, 3) uint8, valid until the next are asked for."""
    largest = split.batch_size
    for images, labels in split.reader.read([samples[start : start + largest] for start in range(0, len(samples), largest)]):
        yield labels.clone(), images


def images_of(split: Split, samples: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Stored images, (side, side, 3) uint8, and their labels."""
    return [
        (image.copy(), int(label))
        for labels, images in batches_of(split, samples)
        for image, label in zip(images.numpy(), labels, strict=True)
    ]
