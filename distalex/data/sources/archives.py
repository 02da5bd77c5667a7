"""Files under names, in a folder or in tar archives, so that a data set's layout is recognised by names alone."""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from io import RawIOBase
from pathlib import Path
from typing import IO, cast

from distalex.data.sources.tree import Files, folder_files, is_hidden, printable, stamp
from distalex.errors import UserError

TAR = (".tar",)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def open_files(root: str) -> Files:
    """The files of a folder, a tar archive, or all tar archives that a folder, `part-*.tar` or `part-{000..009}.tar` names.

    Raises UserError where there is nothing, or an archive is damaged.
    """
    path = Path(root)
    if path.is_dir():
        files = folder_files(path)
        archives = [name for name in files.names if _is_archive(name)]
        others = [name for name in files.names if not _is_archive(name)]
        if not archives or not all(map(_describes, others)):
            return files
        return _together(root, tar_files([path / name for name in archives], root, list(map(_stem, archives))), files, others)
    if path.is_file():
        if not _is_archive(path.name) and _pread_file(path, 257, 5) != b"ustar":
            raise UserError(f"data.root={root}: a folder, a tar archive or a table (.csv, .tsv, .parquet) of images is needed")
        return tar_files([path], root)
    found = [name for pattern in _braces(root) for name in sorted(glob.glob(pattern))]
    if found:
        above = os.path.commonpath([os.path.dirname(name) for name in found]) if len(found) > 1 else os.path.dirname(found[0])
        return tar_files(list(map(Path, found)), root, [_stem(os.path.relpath(name, above or ".")) for name in found])
    raise UserError(f"data.root={root}: no such file or folder")


def _is_archive(name: str) -> bool:
    """Of images, that is: ImageNet's devkit is an archive too."""
    return name.lower().endswith(TAR + COMPRESSED) and "devkit" not in name.lower()


def _stem(name: str) -> str:
    """An archive's name without its suffixes."""
    return re.sub(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2|txz)$", "", name, flags=re.IGNORECASE)


def _describes(name: str) -> bool:
    """Whether a file may lie beside archives: labels, notes, checksums, a devkit."""
    return name.lower().endswith((".txt", ".csv", ".tsv", ".json", ".mat", ".md", ".md5", ".sha256", ".tar.gz", ".tgz", ".bin"))


def _together(root: str, archives: Files, folder: Files, others: list[str]) -> Files:
    kept = set(others)
    return Files(
        root,
        [*archives.names, *others],
        lambda name: folder.read(name) if name in kept else archives.read(name),
        lambda name: folder.where(name) if name in kept else archives.where(name),
        lambda name: folder.stamp(name) if name in kept else archives.stamp(name),
        archives.archives,
    )


def _braces(pattern: str) -> list[str]:
    """`a-{08..10}.tar` as a-08.tar, a-09.tar, a-10.tar."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if not match:
        return [pattern]
    first, last = match.groups()
    numbers = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return [whole for number in numbers for whole in _braces(pattern[: match.start()] + number + pattern[match.end() :])]


def tar_files(paths: Sequence[Path], root: str, prefixes: Sequence[str] = ()) -> Files:
    """The files in tar archives, read in place: nothing is unpacked. Archives in an archive count as folders.

    With `prefixes`, one an archive, a name begins with its archive's; else there is one archive.
    Raises UserError where an archive is damaged or holds a name outside of itself.
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
            raise OSError(f"{paths[number]} ends within it")
        return content

    def where(name: str) -> str:
        number = places[name][0]
        inner = name.removeprefix(f"{prefixes[number]}/") if prefixes else name
        return f"{paths[number]}: {printable(inner)}"

    def stamped(name: str) -> str:
        number, start, length = places[name]
        return f"{stamps[number]}/{start}/{length}"

    return Files(root, list(places), read, where, stamped, bool(prefixes))


LONG = 5_000  # members, from which on reading them all takes longer than a start should


def _listing(file: int, path: Path) -> list[tuple[str, int, int]]:
    """`_members` of a tar archive; a long list is kept beside the prepared files until the archive changes."""
    from distalex.data.places import prepared_folder

    name = f"{_kept_as(path)}.members1.json"  # 1: how `_members` lists
    if os.fstat(file).st_size >= LONG * 1024:  # a header and a block each
        with contextlib.suppress(OSError, ValueError, TypeError, UserError):
            return [(member, start, length) for member, start, length in json.loads((prepared_folder() / name).read_text(encoding="utf-8"))]
    members = list(_members(file, 0, os.fstat(file).st_size, str(path)))
    if len(members) >= LONG:
        with contextlib.suppress(OSError, UserError):
            temporary = prepared_folder() / f".{name}.{os.getpid()}.partial"
            temporary.write_text(json.dumps(members), encoding="utf-8")
            os.replace(temporary, temporary.with_name(name))
    return members


def _kept_as(archive: Path) -> str:
    """How a name begins of what is kept of an archive: otherwise once it is another or was changed."""
    digest = hashlib.blake2b(f"{archive.resolve()}/{stamp(archive)}".encode(), digest_size=6).hexdigest()
    return f"{archive.name.split('.')[0]}-{digest}"


def _pread(file: int, start: int, length: int) -> bytes:
    """Reads without a position of its own, so that threads and forked processes may share an open file."""
    parts = []
    while length > 0 and (part := os.pread(file, min(length, 2**30), start)):
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)


def _pread_file(path: Path, start: int, length: int) -> bytes:
    with open(path, "rb") as file:
        return _pread(file.fileno(), start, length)


class _Section(RawIOBase):
    """A part of an open file as a file, for tarfile."""

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
        section.seek(tar.offset)  # tarfile takes rubbish, or nothing, after a whole entry for the end
        if section.read(512) != bytes(512):
            raise ValueError("it ends before its end mark: truncated, or damaged in the middle")


def _target(member: tarfile.TarInfo) -> str:
    """What a link in an archive names."""
    return os.path.normpath(member.linkname if member.islnk() else os.path.join(os.path.dirname(member.name), member.linkname))


def _decompressed(path: Path) -> Path:
    """The archive in a compressed one, kept beside the prepared files: parts of a compressed one cannot be read alone."""
    from distalex.data.places import prepared_folder

    target = prepared_folder() / f"{_kept_as(path)}.tar"
    if not target.is_file():
        opened: dict[str, Callable[[Path], IO[bytes]]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}  # type: ignore[dict-item]
        suffix = path.suffix[1:].lower()
        kind = {"tgz": "gz", "tbz2": "bz2", "txz": "xz"}.get(suffix, suffix)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with opened[kind](path) as packed, open(temporary, "wb") as plain:
                shutil.copyfileobj(packed, plain, 2**20)
            os.replace(temporary, target)
        except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
            raise UserError(f"{path}: cannot be decompressed ({error}); fetch it again, or free some space in {target.parent}") from None
        finally:
            temporary.unlink(missing_ok=True)
    return target
