"""Where data parallelism overtakes columns: by the bytes they send, as measured, and by lines through the measured steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

PAPER_CROSSING = 1005
"""Images of a batch at which two columns and two replicas of the paper's network send the same bytes in fp32 (docs/scaling.md)."""


class Crossing(NamedTuple):
    """The batch from which on data parallelism is ahead."""

    batch: float | None
    """None where no measured batch brackets it."""
    words: str


class Line(NamedTuple):
    """Seconds of a step: what every step costs, and what each image adds."""

    step: float
    image: float


def bytes_crossing(gradient_bytes: float, bytes_a_image: float) -> float:
    """The batch at which a step's gradients and the columns' activations are equally many bytes."""
    return gradient_bytes / bytes_a_image


def measured_crossing(ratios: Mapping[int, float]) -> Crossing:
    """From the speed of columns over data parallel's by batch: where it falls below 1 for good, between the two batches around it.

    The logarithm of the ratio is taken as linear in the logarithm of the batch.
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
    """The line through step times by batch with the least relative errors; None for fewer than two batches."""
    if len(seconds) < 2:
        return None
    times = np.array(list(seconds.values()))
    terms = np.stack([np.ones(len(times)), np.array(list(seconds), dtype=float)], axis=1)
    step, image = np.linalg.lstsq(terms / times[:, None], np.ones(len(times)), rcond=None)[0]
    return Line(float(step), float(image))


def lines_crossing(data: Line, columns: Line) -> float | None:
    """The batch from which on data parallel's line is below the columns'; None where that is at no batch."""
    if columns.image <= data.image:
        return None
    return max(0.0, (data.step - columns.step) / (columns.image - data.image))
