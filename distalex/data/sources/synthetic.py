"""Synthetic images, for tests and benchmarks."""

from __future__ import annotations

import numpy as np
from PIL import Image

from distalex import random
from distalex.config.data import DataConfig
from distalex.data.sources.source import Source


def synthetic(config: DataConfig) -> tuple[Source, Source]:
    """Keyed noise with a tint and stripes by class, for tests and benchmarks that need no data."""

    def split(name: str, count: int) -> Source:
        labels = np.arange(count, dtype=np.int64) % config.synthetic_classes
        return Source(
            "synthetic",
            name,
            tuple(f"class{number:03d}" for number in range(config.synthetic_classes)),
            labels,
            lambda sample: Image.fromarray(_synthetic_image(name, sample, int(labels[sample]), config)),
            lambda sample: f"synthetic {name} {sample}",
            lambda sample: "",
            config.side,
            "synthetic",
        )

    return split("train", config.synthetic_images), split("test", max(2, config.synthetic_images // 4))


def _synthetic_image(split: str, sample: int, label: int, config: DataConfig) -> np.ndarray:
    side = config.side
    noise = random.bits(random.key(0, "synthetic", split, sample), np.arange(side * side * 3)).reshape(side, side, 3) % 128
    tint = random.bits(random.key(0, "tint", label), np.arange(3)) % 96
    stripes = (np.arange(side) * (1 + label) * 2 // side % 2 * 32)[:, None, None]
    return (noise + tint + stripes).astype(np.uint8)
