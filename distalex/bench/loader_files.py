"""The images of `bench loader` as its contenders read them: original files and one .beton file, in one temporary folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distalex import random
from distalex.bench.options import LoaderOptions
from distalex.config.data import DataConfig
from distalex.data.beton.estimate import How
from distalex.data.beton.files import Encoding, write
from distalex.data.splits import list_sources
from distalex.errors import UserError
from distalex.machine.resources import cores

WIDTH, HEIGHT = 500, 375  # of a random photograph; the usual size in ImageNet
PHOTOGRAPHS, CLASSES = 256, 4
EPOCH = 2**17
"""Images of an epoch at least. Small sets are repeated within it, so that starting an epoch costs as little as in a large set."""


@dataclass(frozen=True)
class LoaderTask:
    """What every contender reads and gives; `task.json` in the folder of the files."""

    count: int
    """Different images."""
    stored: int
    """Side length of the stored squares in pixels."""
    image_size: int
    """Side length of the network's input in pixels."""
    batch: int
    """Images per batch."""
    workers: int
    """Threads or processes that load."""
    precision: str
    """Of the network's input, fp32 or bf16."""
    mean: tuple[float, float, float]
    """Of the stored images, on 0..255."""
    covariance: tuple[tuple[float, float, float], ...]
    """Of the colours of the stored images, on 0..255."""

    @property
    def epoch_size(self) -> int:
        """Images of an epoch: a multiple of `count`."""
        return self.count * max(1, -(-EPOCH // self.count))

    @property
    def crop(self) -> int:
        """Side length in pixels of the random crop of a stored square."""
        return min(self.stored, self.image_size)

    @property
    def margin(self) -> int:
        """Black pixels around a stored square that leaves the crop no room to move."""
        return 0 if self.crop < self.stored else self.stored // 8

    def save(self, folder: Path) -> None:
        """Write FOLDER/task.json."""
        (folder / "task.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> LoaderTask:
        """Read FOLDER/task.json."""
        return cls(**json.loads((folder / "task.json").read_text(encoding="utf-8")))


def write_files(options: LoaderOptions, folder: Path) -> tuple[LoaderTask, dict[str, Any]]:
    """Put the originals (as links) into FOLDER/original, write FOLDER/images.beton and FOLDER/task.json.

    Returns the task and the result's description of the images. Raises UserError where `options.root` holds no images of two classes.
    """
    original, stored_file = folder / "original", folder / "images.beton"
    if options.root is None:
        make_photographs(original, min(options.images, PHOTOGRAPHS))
    else:
        _link(Path(options.root), original, options.images)
    files = sorted(original.rglob("*.*"))
    sizes = [_size(path) for path in files[:1000]]
    stored = min(round(options.image_size / 0.875), int(np.median([min(size) for size in sizes])))
    (source,) = list_sources(DataConfig(name="folder", root=str(original), stored_size=stored))
    info = write(source, stored_file, lambda *_: None, How(Encoding(options.encoding)))
    colours = info.statistics
    task = LoaderTask(len(source), stored, options.image_size, options.batch, cores(), options.precision, colours.mean, colours.covariance)
    task.save(folder)
    images = {
        "kind": "random photographs" if options.root is None else "a folder of classes",
        "count": len(source),
        "classes": len(source.classes),
        "median_size": [int(number) for number in np.median(sizes, axis=0)],
        "stored_size": stored,
        "encoding": options.encoding,
        "bytes_per_image": {
            "original": sum(path.stat().st_size for path in files) / len(source),
            "stored": stored_file.stat().st_size / len(source),
        },
    }
    return task, images


def make_photographs(folder: Path, count: int) -> None:
    """Write `count` JPEG files of quality 90 into FOLDER/CLASS: keyed noise, fainter the finer it is, as in photographs."""
    for number in range(count):
        pixels = np.full((HEIGHT, WIDTH, 3), 128.0, dtype=np.float32)
        for wide in (4, 16, 64, 256):
            high = wide * HEIGHT // WIDTH
            noise = random.bits(random.key(0, "photograph", number, wide), np.arange(high * wide * 3)) >> 24
            coarse = Image.fromarray(noise.astype(np.uint8).reshape(high, wide, 3))
            weight = 1.6 / np.sqrt(wide)
            pixels += weight * (np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float32) - 128)
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def _link(root: Path, folder: Path, limit: int) -> None:
    """Link `limit` keyed images of `root` (all where it has fewer) into class folders as there."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        classes, numbers = find_classes(str(root))
        listed = make_dataset(str(root), numbers, IMG_EXTENSIONS, allow_empty=True)
    except OSError as error:
        raise UserError(f"root={root}: not a folder of class folders ({error.strerror or error}); give one with CLASS/*.jpg") from None
    order = random.permutation(random.key(0, "bench"), len(listed))[:limit]
    if len({listed[number][1] for number in order}) < 2:
        raise UserError(f"root={root}: has images of fewer than two classes; give a folder with CLASS/*.jpg")
    for number in order:
        path, label = listed[number]
        place = folder / classes[label] / f"{number:08d}{Path(path).suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.abspath(path))


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size
