"""Size and time of preparing a source."""

from __future__ import annotations

import time
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from distalex import random
from distalex.console import bytes_text
from distalex.data.augment.statistics import MEASURED
from distalex.data.beton.writer import Encoding
from distalex.data.source import BadImage, Source
from distalex.machine.resources import cores

PAGE = 2**23
"""Bytes of a page of FFCV's files."""
READ_BACK = 64
"""Images that are compared with their source after writing."""
TRIED = 24
"""Images that an estimate is measured on."""
RAW = Encoding()


class How(NamedTuple):
    """How a source is written."""

    encoding: Encoding = RAW
    workers: int = 0
    """Writing processes; 0: one per core."""
    skip_bad: bool = False
    """Skip and list unreadable images, instead of stopping at the first."""


PLAIN = How()


def writers_of(source: Source, workers: int) -> int:
    """Number of writing processes: `workers`, or where it is 0 one per core, and fewer for a small source."""
    return workers or min(cores(), max(1, len(source) // 500))


@dataclass(frozen=True)
class Estimate:
    """Size and time of preparing a source."""

    bytes: float
    seconds: float

    def describe(self, source: Source, encoding: Encoding) -> str:
        """A line on the images, and their size and time."""
        seconds = self.seconds
        lasts = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
        size = bytes_text(self.bytes)
        kind = f"{source.side}x{source.side} {encoding.name}"
        return f"{source.name} {source.split}: {len(source):,} images of {kind}, about {size} and {lasts}"


def estimate(source: Source, how: How) -> Estimate:
    """Size and time of preparing `source`, from some of its images."""
    encoding, writers = how.encoding, writers_of(source, how.workers)
    raw, sizes = PAGE / (PAGE // (source.side**2 * 3)), []  # no image lies on two pages
    start, read = time.perf_counter(), 0
    for sample in random.permutation(random.key(0, "estimate"), len(source))[:TRIED].tolist():
        try:
            image = source.image(sample)
        except BadImage:
            continue  # `write` reports it
        read += 1
        if encoding.name != "raw":
            buffer = BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=encoding.quality)
            sizes.append(buffer.tell())
    each = (time.perf_counter() - start) / max(1, read) + 1e-4  # and a little for writing
    jpeg = float(np.mean(sizes)) if sizes else raw / 8
    share = {"raw": 0.0, "jpg": 1.0, "mixed": 0.5}[encoding.name]
    seconds = len(source) * each / writers + (min(len(source), MEASURED) + READ_BACK) * each / cores()
    unfilled = (1 + writers) * PAGE  # the table's page, and the last page of each process
    return Estimate(len(source) * (share * jpeg + (1 - share) * raw) + unfilled, seconds + 1)
