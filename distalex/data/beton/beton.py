"""Prepared files: FFCV's `.beton`, written atomically and read back, with a JSON sidecar that describes it.

The sidecar `FILE.beton.json` carries classes, counts, colour statistics, origin, options, versions and checksums, so that a
truncated, foreign or changed file is refused before training. A large set may be spread over several files of one order.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from distalex import __version__, random
from distalex.data.augment.augmentation import Statistics
from distalex.data.beton.writer import Encoding, Progress, write_pictures
from distalex.data.sources.source import MEASURED, BadPicture, Source, measure
from distalex.errors import UserError
from distalex.parallel.topology import cores

FORMAT = 2
CHECKED_WHOLE = 2**30  # bytes; of a larger file only evenly spaced pieces are checked at every start
PIECE = 2**20
READ_BACK = 64  # pictures compared with their source after writing
PAGE = 2**23  # bytes; FFCV's
TRIED = 24  # pictures that an estimate is taken from
RAW = Encoding()
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.beton$)")


class How(NamedTuple):
    """How a source is written."""

    encoding: Encoding = RAW
    workers: int = 0
    """Writing processes; 0 for one a core."""
    skip_bad: bool = False
    """Leave unreadable pictures out and list them, instead of stopping at the first."""


PLAIN = How()


class Info(BaseModel):
    """What the sidecar says of a prepared file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    name: str
    split: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Pictures of each class in this file."""
    side: int
    resize: str
    """Which side of a picture became `side`: short_side or max_side."""
    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    encoding: str
    quality: int
    """Of JPEG."""
    fingerprint: str
    """Of the whole source, skipped pictures and other files included."""
    origin: str
    skipped: tuple[str, ...]
    """What was said of each picture that was left out."""
    shard: int
    shards: int
    """Files that the source is spread over, of which this is number `shard`."""
    bytes: int
    checksum: str
    """Of the whole file, or of pieces of one over 1 GiB."""
    whole_checksum: str
    versions: dict[str, str]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.mean, self.covariance)


@dataclass(frozen=True)
class Prepared:
    """A prepared split: one file, or several with one order."""

    paths: tuple[Path, ...]
    info: Info
    """Counts, statistics and skipped pictures of all."""


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def shard_path(path: Path, shard: int, shards: int) -> Path:
    """`FILE.beton` itself where there is one, else `FILE-00003-of-00013.beton`."""
    return path if shards == 1 else path.with_name(f"{path.name.removesuffix('.beton')}-{shard:05d}-of-{shards:05d}.beton")


def write_all(
    source: Source,
    path: Path,
    progress: Progress,
    how: How = PLAIN,
    per_file: int | None = None,
    overwrite: bool = False,
) -> Prepared:
    """Write `source` to `path`, or spread it over files of `per_file` pictures, of which those that are there already are kept.

    With `overwrite`, other files that stand for `path` are taken away once all is written.
    Raises UserError as `write` does; then the files that are whole stay, and the next call goes on from there.
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
    """How many files `source` is spread over."""
    return -(-len(source) // per_file) if per_file else 1


def existing(path: Path) -> list[Path]:
    """What stands for `path` on the disk: the file itself, and those of any set spread over several."""
    stem = path.name.removesuffix(".beton")
    several = [one for one in path.parent.glob(f"{glob.escape(stem)}-*-of-*.beton") if SHARD.sub("", one.name) == path.name]
    return sorted([path] * path.exists() + several)


def remove(path: Path, but: Collection[Path] = ()) -> None:
    """Take away what stands for `path`, `but` for some, with the descriptions."""
    for one in set(existing(path)) - set(but):
        for file in (one, sidecar(one)):
            file.unlink(missing_ok=True)


class PartOf(NamedTuple):
    """The source that a file holds, or holds a part of."""

    fingerprint: str
    statistics: Statistics
    shard: int = 0
    shards: int = 1


def _is_there(path: Path, fingerprint: str, how: How) -> bool:
    """Whether an earlier preparing has written the same file already."""
    try:
        info = read_info(path, fingerprint)
    except UserError:
        return False
    return (info.encoding, info.quality) == how.encoding and (how.skip_bad or not info.skipped)


def write(
    source: Source,
    path: Path,
    progress: Progress,
    how: How = PLAIN,
    part_of: PartOf | None = None,
) -> Info:
    """Write `source` to `path` and its sidecar, both whole or not at all, and read the file back.

    `part_of` says what `source` is a part of, and which; by default it is a source of its own.
    Raises UserError, leaving nothing behind, where a picture cannot be read or the disk is full.
    """
    import_ffcv()
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: {path.parent} cannot be made ({error.strerror}); give another place") from None
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        stale.unlink(missing_ok=True)  # of a writer that was killed: only one writes at a time
    _require_room(path, estimate(source, how).bytes)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        written = write_pictures(source, temporary, progress, how.encoding, _writers(source, how.workers), how.skip_bad)
        if not len(written.kept):
            raise UserError(f"{path}: none of the {len(source):,} pictures is readable; the first: {written.skipped[0]}")
        good = source if not written.skipped else source.select(written.kept, source.split)
        _read_back(temporary, good, how.encoding.is_jpeg(written.kept))
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        info = _describe(temporary, good, how.encoding, written.skipped, part_of or PartOf(source.fingerprint, measure(source)))
        write_atomically(sidecar(path), info.model_dump_json(indent=1).encode())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; free some space or give another place") from None
    finally:
        with suppress(OSError):  # a folder that is read-only says so above
            temporary.unlink(missing_ok=True)
    return info


def _describe(path: Path, source: Source, encoding: Encoding, skipped: list[str], part_of: PartOf) -> Info:
    """The sidecar of a file that holds `source` and is whole."""
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
        skipped=tuple(skipped),
        shard=part_of.shard,
        shards=part_of.shards,
        bytes=path.stat().st_size,
        checksum=quick,
        whole_checksum=every_byte,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    return {"distalex": __version__, **{name: version(name) for name in ("ffcv", "Pillow", "numpy")}}


def _writers(source: Source, workers: int) -> int:
    return workers or min(cores(), max(1, len(source) // 500))


@dataclass(frozen=True)
class Estimate:
    """What preparing a source will take."""

    bytes: float
    seconds: float

    def describe(self, source: Source, encoding: Encoding) -> str:
        seconds = self.seconds
        lasts = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
        size = in_bytes(self.bytes)
        kind = f"{source.side}x{source.side} {encoding.name}"
        return f"{source.name} {source.split}: {len(source):,} pictures of {kind}, about {size} and {lasts}"


def in_bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def estimate(source: Source, how: How) -> Estimate:
    """Size and time of preparing `source`, from some of its pictures."""
    encoding, writers = how.encoding, _writers(source, how.workers)
    raw, sizes = PAGE / (PAGE // (source.side**2 * 3)), []  # no picture lies on two pages
    start, read = time.perf_counter(), 0
    for sample in random.permutation(random.key(0, "estimate"), len(source))[:TRIED].tolist():
        try:
            picture = source.picture(sample)
        except BadPicture:
            continue  # `write` will tell
        read += 1
        if encoding.name != "raw":
            buffer = BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=encoding.quality)
            sizes.append(buffer.tell())
    each = (time.perf_counter() - start) / max(1, read) + 1e-4  # and a little for writing
    jpeg = float(np.mean(sizes)) if sizes else raw / 8
    share = {"raw": 0.0, "jpg": 1.0, "mixed": 0.5}[encoding.name]
    seconds = len(source) * each / writers + (min(len(source), MEASURED) + READ_BACK) * each / cores()
    unfilled = (1 + writers) * PAGE  # the table's page, and the last page of each process
    return Estimate(len(source) * (share * jpeg + (1 - share) * raw) + unfilled, seconds + 1)


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


AGAIN = "; prepare it again: python -m distalex.prepare --help"


def read_prepared(path: Path, fingerprint: str | None = None, whole: bool = False) -> Prepared:
    """The prepared split at `path`: the file, or the files `FILE-00000-of-00013.beton` and so on that stand for it.

    Raises UserError as `read_info` does, or where some of the files are missing or belong to another set.
    """
    alone = path.with_name(SHARD.sub("", path.name))
    found = existing(alone)
    if not found or (found == [alone] and path != alone):
        raise UserError(f"{path}: no such file{AGAIN}")
    if found == [alone]:
        return Prepared((path,), read_info(path, fingerprint, whole))
    counts = {one.name.removesuffix(".beton")[-5:] for one in found}
    if alone in found or len(counts) > 1:
        names = ", ".join(one.name for one in found[:3])
        raise UserError(f"{path}: files of several sets lie there ({names}, …); take the old ones away, or prepare with --overwrite")
    shards = int(counts.pop())
    paths = tuple(shard_path(alone, shard, shards) for shard in range(shards))
    missing = [one.name for one in paths if not one.is_file()]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of its {shards} files are missing, e.g. {missing[0]}; prepare it again, which goes on with those"
        )
    infos = [read_info(one, fingerprint, whole) for one in paths]
    for number, (one, info) in enumerate(zip(paths, infos, strict=True)):
        if (info.fingerprint, info.shards, info.shard) != (infos[0].fingerprint, shards, number):
            raise UserError(f"{one}: belongs to another set than {paths[0].name}{AGAIN}")
    return Prepared(paths, _together(infos))


def _together(infos: Sequence[Info]) -> Info:
    """One description of several files."""
    together = {
        "counts": tuple(np.sum([info.counts for info in infos], axis=0).tolist()),
        "skipped": tuple(line for info in infos for line in info.skipped),
        "bytes": sum(info.bytes for info in infos),
    }
    return infos[0].model_copy(update=together)


def read_info(path: Path, fingerprint: str | None = None, whole: bool = False) -> Info:
    """The description of a prepared file, after checking that the file is what it says.

    With `whole`, every byte of it, however large, and the table of its pictures. Raises UserError in one line where file or
    sidecar is missing, truncated, foreign, changed or (with `fingerprint`) made from something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file{AGAIN}")
    info = _read_sidecar(path)
    size = path.stat().st_size
    if size != info.bytes:
        raise UserError(f"{path}: {size:,} bytes where {info.bytes:,} were written; it is truncated or changed{AGAIN}")
    found = checksums(path) if whole else (checksum(path), info.whole_checksum)
    if found != (info.checksum, info.whole_checksum):
        raise UserError(f"{path}: its checksum differs from what was written; it is damaged{AGAIN}")
    if whole:
        _check_table(path, info)
    if fingerprint is not None and info.fingerprint != fingerprint:
        raise UserError(f"{path}: made from other pictures than {info.origin} holds now{AGAIN}")
    return info


def _read_sidecar(path: Path) -> Info:
    try:
        values = json.loads(sidecar(path).read_bytes())
        if values["format"] != FORMAT:
            raise UserError(f"{path}: format {values['format']}, and this distalex reads {FORMAT}{AGAIN}")
        info = Info.model_validate(values)
        if len(info.counts) != len(info.classes):
            raise ValueError("its counts do not fit its classes")
    except FileNotFoundError:
        raise UserError(f"{path}: its description {sidecar(path).name} is missing; move the two together or prepare it again") from None
    except UserError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{sidecar(path)}: not a description of a prepared file ({first['loc'][0]}: {first['msg']}){AGAIN}") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{sidecar(path)}: not a description of a prepared file ({error}){AGAIN}") from None
    return info


def _check_table(path: Path, info: Info) -> None:
    """FFCV's own table in the file: as many pictures as described, each with its label, and inside the file."""
    import_ffcv()
    from ffcv.reader import Reader

    reader = Reader(str(path))
    labels = reader.metadata["f1"].reshape(-1).view(np.int64)
    ends = reader.alloc_table["ptr"] + reader.alloc_table["size"]
    counts = tuple(np.bincount(labels, minlength=len(info.classes)).tolist())
    if counts != info.counts or int(ends.max(initial=0)) > info.bytes:
        raise UserError(f"{path}: its table of {len(labels):,} pictures does not fit its description{AGAIN}")


def checksum(path: Path) -> str:
    """CRC-32 of the whole file up to 1 GiB, else of 1,024 evenly spaced pieces of 1 MiB."""
    size = path.stat().st_size
    starts = range(0, size, PIECE) if size <= CHECKED_WHOLE else np.linspace(0, size - PIECE, 1024, dtype=np.int64).tolist()
    return f"crc32:{_crc(path, starts):08x}"


def checksums(path: Path) -> tuple[str, str]:
    """`checksum`, and CRC-32 of the whole file."""
    size = path.stat().st_size
    quick = checksum(path)
    return quick, quick if size <= CHECKED_WHOLE else f"crc32:{_crc(path, range(0, size, PIECE)):08x}"


def _crc(path: Path, starts: Sequence[int]) -> int:
    crc = 0
    with open(path, "rb") as file:
        for start in starts:
            file.seek(start)
            crc = zlib.crc32(file.read(PIECE), crc)
    return crc


def _require_room(path: Path, needed: float) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed * 1.05:
        raise UserError(
            f"{path}: about {in_bytes(needed)} are needed and {in_bytes(free)} are free there; free some space or give another place"
        )


def _read_back(path: Path, source: Source, is_jpeg: np.ndarray) -> None:
    """Compare every label, and some pictures, with the source."""
    from ffcv.reader import Reader

    reader = Reader(str(path))
    labels = reader.metadata["f1"].reshape(-1).view(np.int64)
    if reader.num_samples != len(source) or not np.array_equal(labels, source.labels):
        raise RuntimeError(f"{path}: labels read back differ from the labels written")
    memory = np.memmap(path, dtype=np.uint8, mode="r")
    sizes = dict(zip(reader.alloc_table["ptr"].tolist(), reader.alloc_table["size"].tolist(), strict=True))
    for sample in np.linspace(0, len(source) - 1, min(READ_BACK, len(source)), dtype=np.int64).tolist():
        start = int(reader.metadata["f0"]["data_ptr"][sample])
        stored = memory[start : start + sizes[start]]
        written = source.picture(sample)
        if is_jpeg[sample]:
            read = np.asarray(Image.open(BytesIO(stored.tobytes())).convert("RGB"), dtype=np.float32)
            good = float(np.abs(read - written).mean()) < 64  # noise at a low quality is the hardest; photographs are at 2
        else:
            good = np.array_equal(stored.reshape(written.shape), written)
        if not good:
            raise RuntimeError(f"{path}: sample {sample} ({source.places(sample)}) read back differs from what was written")


def import_ffcv() -> Any:
    """The ffcv package. Raises UserError with how to install it, since it builds from source."""
    threads = torch.get_num_threads()
    try:
        import numba.typed
    except ImportError as error:
        raise UserError(f"Numba cannot be imported ({error}); ./launch/test.sh or ./launch/quickstart.sh installs it") from None
    typed, set_num_threads = numba.typed.Dict, numba.set_num_threads
    numba.typed.Dict = dict  # type: ignore[misc] # FFCV's table of two encodings: Numba's would be compiled for two seconds
    numba.set_num_threads = lambda n: None  # it would start TBB's threads, which nothing here uses and which can hang at the exit
    try:
        import ffcv
        import ffcv.loader
        import ffcv.writer
        from ffcv.pipeline.compiler import Compiler
    except ImportError as error:
        raise UserError(
            f"FFCV cannot be imported ({error}); ./launch/test.sh or ./launch/quickstart.sh installs it (it needs "
            "libturbojpeg0-dev, libopencv-dev, pkg-config and a C++ compiler), or read the pictures without it: --data.loader=torchvision"
        ) from None
    finally:
        numba.typed.Dict, numba.set_num_threads = typed, set_num_threads  # type: ignore[misc]
        torch.set_num_threads(threads)  # FFCV gives its own number of threads to all of torch
    Compiler.set_num_threads = classmethod(lambda cls, count: None)
    return ffcv


def wait_for_lock(path: Path, say: Callable[[str], None]) -> Any:
    """An exclusive lock on `path`, held until the returned file is closed or its process dies."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115 - the caller closes it
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if not told:
                say(f"waiting for another process that prepares {path.stem}")
                told = True
            time.sleep(0.2)
