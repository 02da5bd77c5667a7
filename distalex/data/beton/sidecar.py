"""The description beside a prepared file, `FILE.beton.json`, and checking the two against each other."""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from distalex.data.augment.statistics import Statistics
from distalex.data.beton.ffcv import import_ffcv, labels_in
from distalex.data.contents import Contents
from distalex.errors import UserError

FORMAT = 2
"""Version of the description."""
CHECKED_WHOLE = 2**30
"""Bytes; of a larger file only evenly spaced pieces are checked at every start."""
PIECE = 2**20
"""Bytes of such a piece."""
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.beton$)")


class Info(BaseModel):
    """The description of a prepared file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    name: str
    split: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Images of each class in this file."""
    side: int
    resize: str
    """Which side of an image was scaled to `side`: short_side or max_side."""
    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    encoding: str
    quality: int
    """Of JPEG."""
    fingerprint: str
    """Of the whole source, skipped images and other files included."""
    origin: str
    content: str = ""
    """Digest of the images and labels in this file, in order; empty in files that an earlier distalex wrote."""
    skipped: tuple[str, ...]
    """A line on each image that was skipped."""
    shard: int
    shards: int
    """Files that the source is spread over; this is number `shard`."""
    bytes: int
    checksum: str
    """Of the whole file, or of pieces of one over 1 GiB."""
    whole_checksum: str
    versions: dict[str, str]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def contents(self) -> Contents:
        """What the file holds."""
        return Contents(self.counts, self.content)

    @property
    def statistics(self) -> Statistics:
        """Colours of the training images of the set."""
        return Statistics(self.mean, self.covariance)


@dataclass(frozen=True)
class Prepared:
    """A prepared split: one file, or several that are numbered through."""

    paths: tuple[Path, ...]
    info: Info
    """Description of all files together."""


def sidecar(path: Path) -> Path:
    """Path of the description of a prepared file."""
    return path.with_name(path.name + ".json")


def names_path(path: Path) -> Path:
    """Path of the list of the files that the images of a prepared file were made from, one a line, compressed."""
    return path.with_name(path.name + ".names.gz")


def pack_names(names: Sequence[str]) -> bytes:
    """Compress a list of files; bytes that are not UTF-8, and line breaks, are written as messages show them."""
    return gzip.compress("\n".join(name.replace("\n", "\\n") for name in names).encode("utf-8", "backslashreplace"), mtime=0)


def read_names(paths: Sequence[Path], counts: int) -> list[str]:
    """The files that the images of prepared files were made from, in order; an empty list where they are not known.

    An earlier distalex did not write them, and a file that was copied may lack them.
    """
    try:
        names = [name for path in paths for name in gzip.decompress(names_path(path).read_bytes()).decode().split("\n")]
    except (OSError, EOFError, ValueError, zlib.error):
        return []
    return names if len(names) == counts else []


def shard_path(path: Path, shard: int, shards: int) -> Path:
    """`FILE.beton` itself where there is one, else `FILE-00003-of-00013.beton`."""
    return path if shards == 1 else path.with_name(f"{path.name.removesuffix('.beton')}-{shard:05d}-of-{shards:05d}.beton")


def existing(path: Path) -> list[Path]:
    """The files that `path` stands for: itself, and those of any set with its name that is spread over several files."""
    stem = path.name.removesuffix(".beton")
    several = [one for one in path.parent.glob(f"{glob.escape(stem)}-*-of-*.beton") if SHARD.sub("", one.name) == path.name]
    return sorted([path] * path.exists() + several)


def remove(path: Path, but: Collection[Path] = ()) -> None:
    """Remove the files that `path` stands for, and their descriptions, except for those in `but`."""
    for one in set(existing(path)) - set(but):
        for file in (one, sidecar(one), names_path(one)):
            file.unlink(missing_ok=True)


def path_of_test_split(train: Path) -> Path:
    """Where `prepare --out=FILE.beton` writes the test split: FILE.test.beton."""
    return train.with_name(f"{SHARD.sub('', train.name).removesuffix('.beton')}.test.beton")


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
        raise UserError(f"{path}: files of several sets lie there ({names}, …); remove the old ones, or prepare with --overwrite")
    shards = int(counts.pop())
    paths = tuple(shard_path(alone, shard, shards) for shard in range(shards))
    missing = [one.name for one in paths if not one.is_file()]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of its {shards} files are missing, e.g. {missing[0]}; prepare it again, which writes only those"
        )
    infos = [read_info(one, fingerprint, whole) for one in paths]
    for number, (one, info) in enumerate(zip(paths, infos, strict=True)):
        if (info.fingerprint, info.shards, info.shard) != (infos[0].fingerprint, shards, number):
            raise UserError(f"{one}: belongs to another set than {paths[0].name}{AGAIN}")
    return Prepared(paths, _together(infos))


def _together(infos: Sequence[Info]) -> Info:
    """One description of all files of a set."""
    contents = [info.content for info in infos]
    together = {
        "counts": tuple(np.sum([info.counts for info in infos], axis=0).tolist()),
        "content": hashlib.blake2b("".join(contents).encode(), digest_size=8).hexdigest() if all(contents) else "",
        "skipped": tuple(line for info in infos for line in info.skipped),
        "bytes": sum(info.bytes for info in infos),
    }
    return infos[0].model_copy(update=together)


def read_info(path: Path, fingerprint: str | None = None, whole: bool = False) -> Info:
    """The description of a prepared file, once the file is checked against it.

    `whole` checks every byte, however large the file, and the table of its images. Raises UserError where file or description
    is missing, truncated, foreign, changed or (with `fingerprint`) made from other images.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file{AGAIN}")
    info = read_description(path)
    size = path.stat().st_size
    if size != info.bytes:
        raise UserError(f"{path}: {size:,} bytes where {info.bytes:,} were written; it is truncated or changed{AGAIN}")
    found = checksums(path) if whole else (checksum(path), info.whole_checksum)
    if found != (info.checksum, info.whole_checksum):
        raise UserError(f"{path}: its checksum differs from what was written; it is damaged{AGAIN}")
    if whole:
        _check_table(path, info)
    if fingerprint is not None and info.fingerprint != fingerprint:
        raise UserError(f"{path}: made from other images than {info.origin} holds now{AGAIN}")
    return info


def read_description(path: Path) -> Info:
    """The description of a prepared file, which itself is not looked at. Raises UserError where it is missing or damaged."""
    try:
        values = json.loads(sidecar(path).read_bytes())
        if values["format"] != FORMAT:
            raise UserError(f"{path}: format {values['format']}, and this distalex reads {FORMAT}{AGAIN}")
        info = Info.model_validate(values)
        if len(info.counts) != len(info.classes):
            raise ValueError("its counts do not fit its classes")
    except FileNotFoundError:
        raise UserError(f"{path}: its description {sidecar(path).name} is missing; move it there or prepare the file again") from None
    except UserError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{sidecar(path)}: not a description of a prepared file ({first['loc'][0]}: {first['msg']}){AGAIN}") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{sidecar(path)}: not a description of a prepared file ({error}){AGAIN}") from None
    return info


def _check_table(path: Path, info: Info) -> None:
    """Raise UserError unless FFCV's table in the file has the described images, each with its label and inside the file."""
    import_ffcv()
    from ffcv.reader import Reader

    reader = Reader(str(path))
    labels = labels_in(reader)
    ends = reader.alloc_table["ptr"] + reader.alloc_table["size"]
    counts = tuple(np.bincount(labels, minlength=len(info.classes)).tolist())
    if counts != info.counts or int(ends.max(initial=0)) > info.bytes:
        raise UserError(f"{path}: its table of {len(labels):,} images does not fit its description{AGAIN}")


def checksum(path: Path) -> str:
    """CRC-32 of the whole file up to 1 GiB, else of 1,024 evenly spaced pieces of 1 MiB."""
    size = path.stat().st_size
    starts = range(0, size, PIECE) if size <= CHECKED_WHOLE else np.linspace(0, size - PIECE, 1024, dtype=np.int64).tolist()
    return f"crc32:{_crc(path, starts):08x}"


def checksums(path: Path) -> tuple[str, str]:
    """`checksum` of a file, and CRC-32 of all of it."""
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
