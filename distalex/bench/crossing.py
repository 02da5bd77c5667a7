"""The batch size at which data parallelism overtakes columns: by the bytes sent, as measured, and by lines fitted to the step times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

PAPER_CROSSING = 1005
"""Batch size at which two columns and two replicas of the paper's network send the same bytes in fp32 (docs/scaling.md)."""


class Crossing(NamedTuple):
    """The batch size from which on data parallelism is ahead."""

    batch: float | None
    """None where it lies outside of the measured batch sizes."""
    words: str
    """The same in words."""


class Line(NamedTuple):
    """A step's time as a line over the batch size, in seconds."""

    step: float
    """Of every step, whatever the batch size."""
    image: float
    """Added by each image."""


def bytes_crossing(gradient_bytes: float, bytes_per_image: float) -> float:
    """The batch size at which a step's gradients and the columns' activations have the same number of bytes."""
    return gradient_bytes / bytes_per_image


def measured_crossing(ratios: Mapping[int, float]) -> Crossing:
    """Where the rate of columns over that of data parallelism, by batch size, falls below 1 for good.

    Between two batch sizes the logarithm of the ratio is interpolated linearly in the logarithm of the batch size.
    """
    batches = sorted(ratios)
    ahead = [batch for batch in batches if ratios[batch] >= 1.0]
    if not ahead:
        return Crossing(None, f"below {batches[0]}, as it is ahead at every batch measured")
    if ahead[-1] == batches[-1]:
        return Crossing(None, f"not below {batches[-1]}, as columns are ahead there")
    before = ahead[-1]
    after = batches[batches.index(before) + 1]
    high, low = math.log(ratios[before]), math.log(ratios[after])
    batch = before * (after / before) ** (high / (high - low))
    return Crossing(batch, f"at about {batch:,.0f}, between {before} and {after}")


def fit_line(seconds: Mapping[int, float]) -> Line | None:
    """Fit a line to step times in seconds by batch size, with the least relative errors; None for fewer than two batch sizes."""
    if len(seconds) < 2:
        return None
    times = np.array(list(seconds.values()))
    terms = np.stack([np.ones(len(times)), np.array(list(seconds), dtype=float)], axis=1)
    step, image = np.linalg.lstsq(terms / times[:, None], np.ones(len(times)), rcond=None)[0]
    return Line(float(step), float(image))


def lines_crossing(data: Line, columns: Line) -> float | None:
    """The batch size from which on the line of `data` is below that of `columns`; None where there is none."""
    if columns.image <= data.image:
        return None
    return max(0.0, (data.step - columns.step) / (columns.image - data.image))
