"""The files in tar archives, read in place: nothing is unpacked, and an archive of archives (ImageNet's own) is read through."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from io import RawIOBase
from pathlib import Path
from typing import IO, cast

from distalex.data.files.tree import Files, is_hidden, printable, stamp
from distalex.data.places import prepared_folder
from distalex.errors import UserError
from distalex.files import replaced_atomically, write_atomically

TAR = (".tar",)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def tar_files(paths: Sequence[Path], root: str, prefixes: Sequence[str] = ()) -> Files:
    """The files in tar archives, read in place: nothing is unpacked. An archive in an archive counts as a folder.

    `prefixes` holds a name for each archive, with which the names of its files begin; without it there is one archive.
    Raises UserError where an archive is damaged or has an entry outside of it, such as ../name.
    """
    paths = [_decompressed(path) if path.name.lower().endswith(COMPRESSED) else path for path in paths]
    stamps = list(map(stamp, paths))
    places: dict[str, tuple[int, int, int]] = {}
    opened: list[int] = []
    for number, path in enumerate(paths):
        try:
            opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            for name, start, length in _listing(opened[-1], path):
                whole = f"{prefixes[number]}/{name}" if prefixes else name
                places[whole] = (number, start, length)
        except UserError:
            raise
        except (OSError, tarfile.TarError, EOFError, ValueError) as error:
            raise UserError(f"{path}: not a whole tar archive ({' '.join(str(error).split())}); fetch it again") from None

    def read(name: str) -> bytes:
        number, start, length = places[name]
        content = _pread(opened[number], start, length)
        if len(content) < length:
            raise OSError(f"{paths[number]} ends in the middle of it")
        return content

    def where(name: str) -> str:
        number = places[name][0]
        inner = name.removeprefix(f"{prefixes[number]}/") if prefixes else name
        return f"{paths[number]}: {printable(inner)}"

    def stamped(name: str) -> str:
        number, start, length = places[name]
        return f"{stamps[number]}/{start}/{length}"

    return Files(root, list(places), read, where, stamped, bool(prefixes))


MIN_MEMBERS_TO_CACHE = 5_000
"""The member list of archives with at least this many members is cached, as reading every header takes seconds."""


def _listing(file: int, path: Path) -> list[tuple[str, int, int]]:
    """`_members` of a tar archive; a long list is cached beside the prepared files until the archive changes."""
    name = f"{_cached_as(path)}.members1.json"  # 1: the version of what `_members` gives
    if os.fstat(file).st_size >= MIN_MEMBERS_TO_CACHE * 1024:  # a header and a block each
        with contextlib.suppress(OSError, ValueError, TypeError, UserError):
            return [(member, start, length) for member, start, length in json.loads((prepared_folder() / name).read_text(encoding="utf-8"))]
    members = list(_members(file, 0, os.fstat(file).st_size, str(path)))
    if len(members) >= MIN_MEMBERS_TO_CACHE:
        with contextlib.suppress(OSError, UserError):
            write_atomically(prepared_folder() / name, json.dumps(members).encode())
    return members


def _cached_as(archive: Path) -> str:
    """First part of the names of cached files of an archive; it differs between archives, and once one is changed."""
    digest = hashlib.blake2b(f"{archive.resolve()}/{stamp(archive)}".encode(), digest_size=6).hexdigest()
    return f"{archive.name.split('.')[0]}-{digest}"


def _pread(file: int, start: int, length: int) -> bytes:
    """Read without moving the position in the file, so that threads and forked processes may share an open file."""
    parts = []
    while length > 0 and (part := os.pread(file, min(length, 2**30), start)):
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)


class _Section(RawIOBase):
    """A section of an open file as a file of its own, for tarfile."""

    def __init__(self, file: int, start: int, length: int) -> None:
        self.file, self.start, self.length, self.at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.length - self.at)
        content = _pread(self.file, self.start + self.at, left if size < 0 else min(size, left))
        self.at += len(content)
        return content


def _members(file: int, start: int, length: int, archive: str) -> Iterator[tuple[str, int, int]]:
    """Name, start in the file and length of each regular file in a tar archive, and of those in archives that it holds."""
    section = _Section(file, start, length)
    if length == 0:
        raise EOFError("an empty file")
    with tarfile.open(fileobj=cast(IO[bytes], section), mode="r:") as tar:
        entries = {os.path.normpath(member.name): member for member in tar}  # a later file replaces an earlier one, as tar has it
        for name, member in entries.items():
            if name.startswith(("/", "../")) or name == "..":
                raise UserError(f"{archive}: its entry {printable(member.name)} lies outside of the archive; do not trust it")
            target = entries.get(_target(member)) if member.islnk() or member.issym() else member
            if target is None or not target.isreg() or any(map(is_hidden, name.split("/"))):
                continue
            if target.issparse():
                raise ValueError(f"{printable(name)} is stored sparsely, which is not read")
            begin = start + target.offset_data
            if name.lower().endswith(TAR):
                for inner, inner_start, inner_length in _members(file, begin, target.size, f"{archive}: {name}"):
                    yield f"{name[:-4]}/{inner}", inner_start, inner_length
            else:
                yield name, begin, target.size
        section.seek(tar.offset)  # tarfile takes anything that is no header for the end
        if section.read(512) != bytes(512):
            raise ValueError("it ends before its end mark: truncated, or damaged in the middle")


def _target(member: tarfile.TarInfo) -> str:
    """What a link in an archive names."""
    return os.path.normpath(member.linkname if member.islnk() else os.path.join(os.path.dirname(member.name), member.linkname))


def _decompressed(path: Path) -> Path:
    """A compressed archive decompressed, cached beside the prepared files: files inside a compressed one cannot be read alone."""
    target = prepared_folder() / f"{_cached_as(path)}.tar"
    if not target.is_file():
        opened: dict[str, Callable[[Path], IO[bytes]]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}  # type: ignore[dict-item]
        suffix = path.suffix[1:].lower()
        kind = {"tgz": "gz", "tbz2": "bz2", "txz": "xz"}.get(suffix, suffix)
        try:
            with opened[kind](path) as packed, replaced_atomically(target) as temporary, open(temporary, "wb") as plain:
                shutil.copyfileobj(packed, plain, 2**20)
        except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
            raise UserError(f"{path}: cannot be decompressed ({error}); fetch it again, or free some space in {target.parent}") from None
    return target
