"""Mean and covariance of a training set's colours, and measuring them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from distalex import random
from distalex.data.source import BadImage, Source
from distalex.machine.resources import cores

MEASURED = 10_000
"""Images that colour statistics are measured on, at most."""


@dataclass(frozen=True)
class Statistics:
    """Colours of a training set, on 0..255."""

    mean: tuple[float, float, float]
    """Of red, green and blue over all pixels."""
    covariance: tuple[tuple[float, float, float], ...]
    """(3, 3), of red, green and blue over all pixels."""

    @property
    def std(self) -> np.ndarray:
        """(3,): standard deviation of each channel, at least 1."""
        return np.sqrt(np.maximum(np.diag(np.array(self.covariance)), 1.0))

    @property
    def principal_components(self) -> np.ndarray:
        """(3, 3): each column an eigenvector times the square root of its eigenvalue, as the 2012 code scales the colour noise."""
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        return vectors * np.sqrt(np.maximum(values, 0.0))


def measure(source: Source) -> Statistics:
    """Colour statistics of a training set, from up to 10,000 keyed images, unreadable ones left out."""
    samples = np.sort(random.permutation(random.key(0, "statistics"), len(source))[:MEASURED])

    def moments(sample: int) -> tuple[int, np.ndarray, np.ndarray]:
        try:
            pixels = source.image(int(sample)).reshape(-1, 3).astype(np.float64)
        except BadImage:  # reported, or skipped, when the file is written
            return 0, np.zeros(3), np.zeros((3, 3))
        return len(pixels), pixels.sum(0), pixels.T @ pixels

    count, total, squares = 0, np.zeros(3), np.zeros((3, 3))
    with ThreadPoolExecutor(cores()) as pool:
        for pixels, first, second in pool.map(moments, samples.tolist()):
            count, total, squares = count + pixels, total + first, squares + second
    count = max(count, 1)
    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    return Statistics(tuple(mean.tolist()), tuple(tuple(row) for row in covariance.tolist()))
