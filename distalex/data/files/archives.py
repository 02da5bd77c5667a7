"""The files in tar and zip archives, read in place: nothing is unpacked."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from distalex.data.files.entries import Entry, pread, read_entry
from distalex.data.files.tar import tar_entries
from distalex.data.files.tree import HEAD, Files, printable, stamp
from distalex.data.files.zip import ZIP, zip_entries
from distalex.data.places import prepared_folder
from distalex.errors import UserError
from distalex.files import replaced_atomically, write_atomically

TAR = (".tar",)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_archive(name: str) -> bool:
    """Whether a file is named as an archive of images, which ImageNet's devkit is not."""
    return name.lower().endswith(TAR + COMPRESSED + ZIP) and "devkit" not in name.lower()


def begins_as_archive(path: Path) -> bool:
    """Whether a file that is not named as an archive is one."""
    with open(path, "rb") as file:
        start = file.read(262)
    return start[257:] == b"ustar" or start[:4] == b"PK\3\4"


def stem_of(name: str) -> str:
    """An archive's name without its suffixes."""
    return re.sub(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2|txz|zip)$", "", name, flags=re.IGNORECASE)


def archive_files(paths: Sequence[Path], root: str, prefixes: Sequence[str] = ()) -> Files:
    """The files in archives, read in place: nothing is unpacked. An archive in an archive counts as a folder.

    `prefixes` holds a name for each archive, with which the names of its files begin; without it there is one archive. An archive is
    open only while it is read, so that there may be more of them than the system lets a process open.
    Raises UserError where an archive is damaged or has an entry outside of it, such as ../name.
    """
    paths = [_decompressed(path) if path.name.lower().endswith(COMPRESSED) else path for path in paths]
    stamps = list(map(stamp, paths))
    places: dict[str, tuple[int, Entry]] = {}
    for number, path in enumerate(paths):
        try:
            with _opened(path) as file:
                for entry in _listing(file, path):
                    whole = f"{prefixes[number]}/{entry.name}" if prefixes else entry.name
                    places[whole] = (number, entry)
        except UserError:
            raise
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            kind = "zip" if path.name.lower().endswith(ZIP) else "tar"
            raise UserError(f"{path}: not a whole {kind} archive ({' '.join(str(error).split())}); fetch it again") from None

    def read(name: str) -> bytes:
        number, entry = places[name]
        with _opened(paths[number]) as file:
            return read_entry(file, entry)

    def head(name: str) -> bytes:
        number, entry = places[name]
        if entry.packed >= 0:
            return read(name)[:HEAD]
        with _opened(paths[number]) as file:
            return pread(file, entry.start, min(HEAD, entry.length))

    def where(name: str) -> str:
        number, entry = places[name]
        return f"{paths[number]}: {printable(entry.name)}"

    def stamped(name: str) -> str:
        number, entry = places[name]
        return f"{stamps[number]}/{entry.start}/{entry.length}"

    return Files(root, list(places), read, head, where, stamped, bool(prefixes))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


MIN_MEMBERS_TO_CACHE = 5_000
"""The list of an archive with at least this many entries is cached, as reading every header takes seconds."""


def _listing(file: int, path: Path) -> list[Entry]:
    """`_members` of an archive; a long list is cached beside the prepared files until the archive changes."""
    name = f"{cached_as(path)}.members2.json"  # 2: the version of what `_members` gives
    if os.fstat(file).st_size >= MIN_MEMBERS_TO_CACHE * 1024:  # a header and a block each
        with contextlib.suppress(OSError, ValueError, TypeError, UserError):
            return [Entry(*values) for values in json.loads((prepared_folder() / name).read_text(encoding="utf-8"))]
    members = list(_members(file, os.fstat(file).st_size, str(path)))
    if len(members) >= MIN_MEMBERS_TO_CACHE:
        with contextlib.suppress(OSError, UserError):
            write_atomically(prepared_folder() / name, json.dumps(members).encode())
    return members


def _members(file: int, length: int, archive: str) -> Iterator[Entry]:
    """The entries of an open archive of either kind."""
    entries = zip_entries if os.pread(file, 2, 0) == b"PK" else tar_entries
    return entries(file, 0, length, archive)


def cached_as(archive: Path) -> str:
    """First part of the names of cached files of an archive; it differs between archives, and once one is changed."""
    digest = hashlib.blake2b(f"{archive.resolve()}/{stamp(archive)}".encode(), digest_size=6).hexdigest()
    return f"{archive.name.split('.')[0]}-{digest}"


def _decompressed(path: Path) -> Path:
    """A compressed archive decompressed, cached beside the prepared files: files inside a compressed one cannot be read alone."""
    target = prepared_folder() / f"{cached_as(path)}.tar"
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
