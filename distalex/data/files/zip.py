"""The entries of a zip archive, found without unpacking."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from typing import IO, cast

from distalex.data.files.entries import Entry, Section
from distalex.data.files.tree import is_hidden, printable
from distalex.errors import UserError

ZIP = (".zip",)
READ = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def zip_entries(file: int, start: int, length: int, archive: str) -> Iterator[Entry]:
    """Yield the files of the zip archive at `start` of an open file, and those of archives that it holds uncompressed.

    Raises UserError for one that is encrypted, packed in a way that is not read, or outside of the archive; BadZipFile where damaged.
    """
    with zipfile.ZipFile(cast(IO[bytes], Section(file, start, length))) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
    windows = not any("/" in member.filename for member in members)  # some programs write train\cat\1.jpg
    for member in members:
        written = member.filename.replace("\\", "/") if windows else member.filename
        name = os.path.normpath(written)
        if name.startswith(("/", "../")) or name == "..":
            raise UserError(f"{archive}: its entry {printable(written)} lies outside of the archive; do not trust it")
        if any(map(is_hidden, name.split("/"))):
            continue
        if member.flag_bits & 1:
            raise UserError(f"{archive}: {printable(name)} is encrypted; unpack it with its password and name the folder")
        if member.compress_type not in READ:
            raise UserError(f"{archive}: {printable(name)} is packed in a way that is not read; unpack it (unzip) and name the folder")
        entry = Entry(name, start + member.header_offset, member.file_size, member.compress_size, member.compress_type, member.CRC)
        if name.lower().endswith(ZIP):
            if member.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"{archive}: {printable(name)} is an archive compressed inside an archive; unpack the outer one (unzip)")
            begin = entry.start + 30 + sum(_lengths(file, entry.start))
            for inner in zip_entries(file, begin, entry.length, f"{archive}: {name}"):
                yield inner._replace(name=f"{name[:-4]}/{inner.name}")
        else:
            yield entry


def _lengths(file: int, header: int) -> tuple[int, int]:
    """Bytes of the name and of the extra field in a local header."""
    two = os.pread(file, 4, header + 26)
    return int.from_bytes(two[:2], "little"), int.from_bytes(two[2:], "little")
