"""Random noise with a tint and stripes for each class, for tests and benchmarks; needs no data."""

import numpy as np
from PIL import Image

from distalex import random
from distalex.config.data import DataConfig
from distalex.data.found import Found
from distalex.data.source import Source

CLASSES = None  # data.synthetic_classes
STORED_SIDE = None  # data.image_size
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ()


def open_source(config: DataConfig) -> Found:
    """Training split of `data.synthetic_images`, and a quarter as many test images; the same in every process."""

    def split(name: str, count: int) -> Source:
        labels = np.arange(count, dtype=np.int64) % config.synthetic_classes
        return Source(
            "synthetic",
            name,
            tuple(f"class{number:03d}" for number in range(config.synthetic_classes)),
            labels,
            open=lambda sample: Image.fromarray(_noise(name, sample, int(labels[sample]), config.side)),
            places=lambda sample: f"synthetic {name} {sample}",
            stamps=lambda sample: "",
            side=config.side,
            origin="synthetic",
        )

    splits = split("train", config.synthetic_images), split("test", max(2, config.synthetic_images // 4))
    return Found("noise", "data.name=synthetic", splits)


def count_classes(config: DataConfig) -> int:
    """Number of classes that `config` names."""
    return config.synthetic_classes


def _noise(split: str, sample: int, label: int, side: int) -> np.ndarray:
    """(side, side, 3) uint8, keyed by split and sample, with the tint and stripes of its label."""
    noise = random.bits(random.key(0, "synthetic", split, sample), np.arange(side * side * 3)).reshape(side, side, 3) % 128
    tint = random.bits(random.key(0, "tint", label), np.arange(3)) % 96
    stripes = (np.arange(side) * (1 + label) * 2 // side % 2 * 32)[:, None, None]
    return (noise + tint + stripes).astype(np.uint8)
