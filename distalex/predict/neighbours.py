"""Nearest neighbours of images by the Euclidean distance of their last hidden layer (Section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from distalex.data.augment.augmentation import Augmentation
from distalex.data.order import choose
from distalex.data.pipeline import Split
from distalex.errors import UserError
from distalex.evaluate.evaluation import logits_of
from distalex.runs.trained import Trained

FORWARD_BATCH = 250
"""Images of one forward pass."""


class FeatureIndex(NamedTuple):
    """Samples of a split with their features, to search for neighbours."""

    samples: np.ndarray
    """(n,) int64, places in the split."""
    labels: tuple[int, ...]
    """Class of each sample."""
    features: Tensor
    """(n, units) float32, the last hidden layer: the input of the classifier."""

    def nearest(self, wanted: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Search for the `count` nearest samples to features (m, units).

        Returns their places in this index (m, count) int64 and Euclidean distances (m, count), the nearest first.
        """
        distances, places = torch.cdist(wanted, self.features).topk(min(count, len(self.samples)), largest=False)
        return places, distances


def index_features(trained: Trained, split: Split, most: int, progress: Callable[[str, int, int], None]) -> FeatureIndex:
    """Compute the features of a split, or of `most` samples of it chosen by the run's seed. Calls `progress(what, done, total)`."""
    samples = choose(split.count, most, trained.config.seed)
    labels: list[int] = []
    features = []
    for images, batch in split.read(samples):
        labels += batch.tolist()
        features.append(features_of(trained, split.augmentation, images))
        progress("features of training images", len(labels), len(samples))
    return FeatureIndex(samples, tuple(labels), torch.cat(features))


@torch.no_grad()
def features_of(trained: Trained, augmentation: Augmentation, images: Tensor) -> Tensor:
    """Compute the input of the classifier, (n, units) float32 on the CPU, of stored images (n, side, side, 3) uint8."""
    if not trained.net.classifier:
        raise UserError(
            f"{trained.path}: its network has no layer with an output for each class, whose input would be compared; end it in one"
        )
    with _inputs_of(trained.net.get_submodule(trained.net.classifier)) as inputs:
        for batch in images.split(FORWARD_BATCH):
            logits_of(trained.net, augmentation.test(batch.to(augmentation.device)))
    return torch.cat(inputs).float().cpu()


@contextmanager
def _inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the inputs of a layer during the block."""
    inputs: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0].flatten(1)))
    try:
        yield inputs
    finally:
        handle.remove()
