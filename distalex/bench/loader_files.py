"""The images of `bench loader` as its contenders read them: original files and one .beton file, in one temporary folder."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from distalex import random
from distalex.bench.options import LoaderOptions
from distalex.config.data import DataConfig
from distalex.data.beton.estimate import How
from distalex.data.beton.files import Encoding, write
from distalex.data.source import SKIP
from distalex.data.splits import list_sources
from distalex.errors import UserError, brief
from distalex.machine.resources import cores

WIDTH, HEIGHT = 500, 375  # of a random photograph; the usual size in ImageNet
PHOTOGRAPHS, CLASSES = 256, 4
REMEDY = "fix or remove it"
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
    files = sorted(path for path in original.rglob("*") if path.is_file())
    sizes = [_size(path) for path in files[:1000]]
    stored = min(round(options.image_size / 0.875), int(np.median([min(size) for size in sizes])))
    (source,) = list_sources(DataConfig(name="folder", root=str(original), stored_size=stored))
    try:
        info = write(source, stored_file, lambda *_: None, How(Encoding(options.encoding)))
    except UserError as error:
        raise UserError(_of_the_user(str(error), original)) from None
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
            "stored": _stored_bytes(stored_file) / len(source),
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


def check_photographs(root: str) -> None:
    """Raise UserError where `photographs` is no folder with images of two classes."""
    _list_images(Path(root), "photographs")


def _link(root: Path, folder: Path, limit: int) -> None:
    """Link `limit` keyed images of `root` (all where it has fewer) into class folders as there."""
    classes, listed = _list_images(root, "root")
    order = random.permutation(random.key(0, "bench"), len(listed))[:limit]
    if len({listed[number][1] for number in order}) < 2:
        raise UserError(f"root={root}: {limit} images of it are of one class; use more --images")
    for number in order:
        path, label = listed[number]
        place = folder / classes[label] / f"{number:08d}{Path(path).suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.abspath(path))


def _list_images(root: Path, option: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Class folders of `root`, and its images with the numbers of their classes. Raises UserError where these are not of two classes."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        classes, numbers = find_classes(str(root))
        listed = make_dataset(str(root), numbers, IMG_EXTENSIONS, allow_empty=True)
    except OSError as error:
        raise UserError(f"{option}={root}: not a folder of class folders ({error.strerror or error}); give one with CLASS/*.jpg") from None
    if len({label for _, label in listed}) < 2:
        raise UserError(f"{option}={root}: has images of fewer than two classes; give a folder with CLASS/*.jpg")
    return classes, listed


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image. Raises UserError where it is none."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: what Pillow raises for some broken PNGs
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else brief(error)
        raise UserError(f"{os.path.realpath(path)}: {reason}; {REMEDY}") from None


def _of_the_user(message: str, original: Path) -> str:
    """A message on a link in `original` as one on the user's file."""
    link = re.search(re.escape(str(original)) + r"/[^:]+\.\w+", message)
    message = message.replace(link[0], os.path.realpath(link[0])) if link else message
    return message.replace(SKIP, REMEDY)


def _stored_bytes(path: Path) -> int:
    """Bytes of the images in a .beton file, without its table and the unused rest of its pages."""
    from ffcv.reader import Reader

    return int(Reader(str(path)).alloc_table["size"].sum())
