"""The images of `bench loader` in every form that its sides read, all of the same images, in one temporary folder."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distalex import random
from distalex.bench.options import BenchOptions
from distalex.config.data import DataConfig
from distalex.data.beton.estimate import How
from distalex.data.beton.files import Encoding, write
from distalex.data.splits import list_sources
from distalex.errors import UserError
from distalex.machine.resources import cores

WIDTH, HEIGHT = 500, 375  # of a random photograph; the usual size in ImageNet
PHOTOGRAPHS, CLASSES = 256, 4
EPOCH = 2**17
"""Images of an epoch at least: small sets are listed several times over, so that starting an epoch weighs as in a large one."""


@dataclass(frozen=True)
class Setup:
    """What every side is told; `setup.json` in the folder of the files."""

    count: int
    """Different images."""
    stored: int
    """Side in pixels of the stored squares."""
    image_size: int
    """Side in pixels of the network's input."""
    batch: int
    workers: int
    precision: str
    mean: tuple[float, float, float]
    """Of the stored images, on 0..255."""
    covariance: tuple[tuple[float, float, float], ...]

    @property
    def listed(self) -> int:
        """Images of an epoch."""
        return self.count * max(1, -(-EPOCH // self.count))

    @property
    def window(self) -> int:
        """Side in pixels of the random window of a stored square."""
        return min(self.stored, self.image_size)

    @property
    def margin(self) -> int:
        """Black pixels around a stored square that leaves the window no room to move."""
        return 0 if self.window < self.stored else self.stored // 8

    def save(self, folder: Path) -> None:
        (folder / "setup.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Setup:
        return cls(**json.loads((folder / "setup.json").read_text(encoding="utf-8")))


def write_files(options: BenchOptions, folder: Path, shards: bool) -> tuple[Setup, dict[str, Any]]:
    """Write originals (as links), both `.beton` files, their JPEG images as files and, with `shards`, in tar files.

    Returns what the sides are told and what the result says of the images. Raises UserError where `options.root` holds none.
    """
    original = folder / "original"
    if options.root is None:
        _make_photographs(original, min(options.images, PHOTOGRAPHS))
    else:
        _link(Path(options.root), original, options.images)
    sizes = [_size(path) for path in sorted(original.rglob("*.*"))[:1000]]
    stored = min(round(options.image_size / 0.875), int(np.median([min(size) for size in sizes])))
    (source,) = list_sources(DataConfig(name="folder", root=str(original), stored_size=stored))
    files = {encoding: folder / f"{encoding}.beton" for encoding in ("raw", "jpg")}
    infos = [write(source, path, lambda *_: None, How(Encoding(encoding))) for encoding, path in files.items()]
    colours = infos[0].statistics
    _write_stored(files["jpg"], folder / "stored", source.classes)
    if shards:
        _write_shards(folder / "stored", folder / "shards", source.classes)
    setup = Setup(len(source), stored, options.image_size, options.batch, cores(), options.precision, colours.mean, colours.covariance)
    setup.save(folder)
    images = {
        "kind": "random photographs" if options.root is None else "a folder of classes",
        "count": len(source),
        "classes": len(source.classes),
        "median_size": [int(number) for number in np.median(sizes, axis=0)],
        "stored_size": stored,
        "bytes_of_a_image": {
            "original": _bytes_below(original) / len(source),
            **{encoding: path.stat().st_size / len(source) for encoding, path in files.items()},
            "stored": _bytes_below(folder / "stored") / len(source),
        },
    }
    return setup, images


def _make_photographs(folder: Path, count: int) -> None:
    """JPEG files of quality 90: keyed noise, smooth over large distances and fainter the finer it is, as in photographs."""
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
    """Links to `limit` keyed images of `root` (all where it has fewer), in class folders as there."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        classes, numbers = find_classes(str(root))
        listed = make_dataset(str(root), numbers, IMG_EXTENSIONS, allow_empty=True)
    except OSError as error:
        raise UserError(f"root={root}: no folder of class folders ({error.strerror or error})") from None
    order = random.permutation(random.key(0, "bench"), len(listed))[:limit]
    if len({listed[number][1] for number in order}) < 2:
        raise UserError(f"root={root}: images of two classes at least are needed (CLASS/*.jpg)")
    for number in order:
        path, label = listed[number]
        place = folder / classes[label] / f"{number:08d}{Path(path).suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.abspath(path))


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.*"))


def _write_stored(path: Path, folder: Path, classes: Sequence[str]) -> None:
    """The JPEG images of a `.beton` as files, byte for byte."""
    from ffcv.reader import Reader

    reader = Reader(str(path))
    memory = np.memmap(path, dtype=np.uint8, mode="r")
    sizes = dict(zip(reader.alloc_table["ptr"].tolist(), reader.alloc_table["size"].tolist(), strict=True))
    labels = reader.metadata["f1"].reshape(-1).view(np.int64)
    for sample, start in enumerate(reader.metadata["f0"]["data_ptr"].tolist()):
        place = folder / classes[labels[sample]] / f"{sample:08d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(memory[start : start + sizes[start]].tobytes())


def _write_shards(images: Path, folder: Path, classes: Sequence[str]) -> None:
    """WebDataset's tar files of the images and their labels: as many for each worker, classes mixed."""
    paths = sorted(images.rglob("*.jpg"))
    shards = cores() * max(1, 8 // cores())
    folder.mkdir()
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for path in paths[shard::shards]:
                label = str(classes.index(path.parent.name)).encode()
                for suffix, content in (("jpg", path.read_bytes()), ("cls", label)):
                    entry = tarfile.TarInfo(f"{path.stem}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, BytesIO(content))
