"""Measuring a source's colours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from distalex import random
from distalex.data.augment.statistics import Statistics
from distalex.data.sources.source import BadImage, Source
from distalex.machine.resources import cores

MEASURED = 10_000  # images that colour statistics are taken from


def measure(source: Source) -> Statistics:
    """Mean and covariance of the colours of (up to 10,000, keyed) images of a training set; of those that can be read."""
    samples = np.sort(random.permutation(random.key(0, "statistics"), len(source))[:MEASURED])

    def moments(sample: int) -> tuple[int, np.ndarray, np.ndarray]:
        try:
            pixels = source.image(int(sample)).reshape(-1, 3).astype(np.float64)
        except BadImage:  # which writing names, or leaves out
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
