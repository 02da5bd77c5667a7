"""Writing prepared files: FFCV's `.beton`, all or nothing, read back, and described by `FILE.beton.json`.

The description has classes, counts, colour statistics, origin, options, versions and checksums, so that a truncated, foreign
or changed file is refused before training. A large set may be spread over several files, whose images are numbered through.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from distalex import __version__
from distalex.console import bytes_text
from distalex.data.augment.statistics import Statistics, measure
from distalex.data.beton.estimate import PLAIN, READ_BACK, How, estimate, writers_of
from distalex.data.beton.ffcv import import_ffcv, labels_in
from distalex.data.beton.sidecar import (
    FORMAT,
    Info,
    Prepared,
    checksums,
    names_path,
    pack_names,
    read_info,
    read_prepared,
    remove,
    shard_path,
    sidecar,
)
from distalex.data.beton.writer import Encoding, Progress, Written, write_images
from distalex.data.contents import digest_of
from distalex.data.source import Source
from distalex.errors import UserError
from distalex.files import refuse_unwritable, remove_half_written, replaced_atomically, write_atomically


def write_all(
    source: Source,
    path: Path,
    progress: Progress,
    how: How = PLAIN,
    per_file: int | None = None,
    overwrite: bool = False,
) -> Prepared:
    """Write `source` to `path`, or spread it over files of `per_file` images; files of it that are there already are kept.

    With `overwrite`, other files that `path` stands for are removed once all is written. Raises UserError as `write` does;
    whole files then stay, and the next call writes the others.
    """
    shards = files_of(source, per_file)
    part_of = PartOf(source.fingerprint, measure(source), shards=shards)
    done = 0
    for shard in range(shards):
        samples = np.arange(len(source) * shard // shards, len(source) * (shard + 1) // shards)
        target = shard_path(path, shard, shards)
        part = source if shards == 1 else source.select(samples, source.split)

        def so_far(count: int, _: int, done: int = done) -> None:
            progress(done + count, len(source))

        if shards == 1 or not _is_there(target, part_of.fingerprint, how):
            write(part, target, so_far, how, part_of._replace(shard=shard))
        done += len(samples)
    if overwrite:
        remove(path, {shard_path(path, shard, shards) for shard in range(shards)})
    return read_prepared(path, part_of.fingerprint)


def files_of(source: Source, per_file: int | None) -> int:
    """Number of files that `source` is spread over."""
    return -(-len(source) // per_file) if per_file else 1


class PartOf(NamedTuple):
    """The source that a file belongs to, and its place there."""

    fingerprint: str
    statistics: Statistics
    shard: int = 0
    shards: int = 1


def _is_there(path: Path, fingerprint: str, how: How) -> bool:
    """Whether the same file has been written before."""
    try:
        info = read_info(path, fingerprint)
    except UserError:
        return False
    return (info.encoding, info.quality) == how.encoding and (how.skip_bad or not info.skipped)


def write(source: Source, path: Path, progress: Progress, how: How = PLAIN, part_of: PartOf | None = None) -> Info:
    """Write `source` to `path`, all or nothing, with its description, and read the file back.

    `part_of` is the source that this one is selected from; by default this one itself.
    Raises UserError, leaving nothing behind, where an image cannot be read or the place not be written.
    """
    import_ffcv()
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    with refuse_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_half_written(path)  # only one process writes into a folder at a time
    _require_room(path, estimate(source, how).bytes)
    with refuse_unwritable(path, way_out="free some space or give another place"), replaced_atomically(path) as temporary:
        written = write_images(source, temporary, progress, how.encoding, writers_of(source, how.workers), how.skip_bad)
        if not len(written.kept):
            raise UserError(f"{path}: none of the {len(source):,} images is readable; the first: {written.skipped[0]}")
        good = source if not written.skipped else source.select(written.kept, source.split)
        _read_back(temporary, good, how.encoding.is_jpeg(written.kept))
        info = _describe(temporary, good, how.encoding, written, part_of or PartOf(source.fingerprint, measure(source)))
        write_atomically(names_path(path), pack_names([good.places(sample) for sample in range(len(good))]))
        write_atomically(sidecar(path), info.model_dump_json(indent=1).encode())
    return info


def _describe(path: Path, source: Source, encoding: Encoding, written: Written, part_of: PartOf) -> Info:
    """The description of a whole file of `source`."""
    quick, every_byte = checksums(path)
    return Info(
        format=FORMAT,
        name=source.name,
        split=source.split,
        classes=source.classes,
        counts=tuple(np.bincount(source.labels, minlength=len(source.classes)).tolist()),
        side=source.side,
        resize=source.resize,
        mean=part_of.statistics.mean,
        covariance=part_of.statistics.covariance,
        encoding=encoding.name,
        quality=encoding.quality,
        fingerprint=part_of.fingerprint,
        origin=source.origin,
        content=digest_of(source.labels, written.checksums),
        skipped=tuple(written.skipped),
        shard=part_of.shard,
        shards=part_of.shards,
        bytes=path.stat().st_size,
        checksum=quick,
        whole_checksum=every_byte,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    return {"distalex": __version__, **{name: version(name) for name in ("ffcv", "Pillow", "numpy")}}


def _require_room(path: Path, needed: float) -> None:
    """Raise UserError where the disk has less room than `needed` bytes and a little more."""
    free = shutil.disk_usage(path.parent).free
    if free < needed * 1.05:
        raise UserError(
            f"{path}: about {bytes_text(needed)} are needed and {bytes_text(free)} are free there; free some space or give another place"
        )


def _read_back(path: Path, source: Source, is_jpeg: np.ndarray) -> None:
    """Compare every label, and some images, with the source. Raises RuntimeError where they differ."""
    from ffcv.reader import Reader

    reader = Reader(str(path))
    labels = labels_in(reader)
    if reader.num_samples != len(source) or not np.array_equal(labels, source.labels):
        raise RuntimeError(f"{path}: labels read back differ from the labels written")
    memory = np.memmap(path, dtype=np.uint8, mode="r")
    sizes = dict(zip(reader.alloc_table["ptr"].tolist(), reader.alloc_table["size"].tolist(), strict=True))
    for sample in np.linspace(0, len(source) - 1, min(READ_BACK, len(source)), dtype=np.int64).tolist():
        start = int(reader.metadata["f0"]["data_ptr"][sample])
        stored = memory[start : start + sizes[start]]
        written = source.image(sample)
        if is_jpeg[sample]:
            read = np.asarray(Image.open(BytesIO(stored.tobytes())).convert("RGB"), dtype=np.float32)
            good = float(np.abs(read - written).mean()) < 64  # noise at a low quality is the hardest; photographs are at 2
        else:
            good = np.array_equal(stored.reshape(written.shape), written)
        if not good:
            raise RuntimeError(f"{path}: sample {sample} ({source.places(sample)}) read back differs from what was written")
