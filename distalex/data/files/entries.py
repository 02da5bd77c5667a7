"""Entries of archives: where each lies in its archive, and its content."""

from __future__ import annotations

import os
import struct
import zlib
from io import RawIOBase
from typing import NamedTuple


class Entry(NamedTuple):
    """A file in an archive."""

    name: str
    start: int
    """Where its content begins in the archive, or the local header before it in a zip."""
    length: int
    """Of the content, in bytes."""
    packed: int = -1
    """Bytes in a zip, behind the local header; -1 in a tar."""
    method: int = 0
    """How a zip stores it: 0 as it is, 8 deflated."""
    checksum: int = 0
    """CRC-32 of the content, in a zip."""


def read_entry(file: int, entry: Entry) -> bytes:
    """Return the content of an entry of an open archive. Raises OSError where the archive ends early or is damaged."""
    if entry.packed < 0:
        content = pread(file, entry.start, entry.length)
        if len(content) < entry.length:
            raise OSError("the archive ends in the middle of it")
        return content
    header = pread(file, entry.start, 30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise OSError("the archive is damaged")
    content = pread(file, entry.start + 30 + sum(struct.unpack("<HH", header[26:30])), entry.packed)
    if entry.method == 8:
        try:
            content = zlib.decompress(content, -15, max(1, entry.length))
        except zlib.error:
            raise OSError("the archive is damaged") from None
    if len(content) != entry.length or zlib.crc32(content) != entry.checksum:
        raise OSError("the archive is damaged: its checksum does not fit")
    return content


def pread(file: int, start: int, length: int) -> bytes:
    """Read without moving the position in the file, so that threads and forked processes may share an open file."""
    parts = []
    while length > 0 and (part := os.pread(file, min(length, 2**30), start)):
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)


class Section(RawIOBase):
    """A section of an open file as a file of its own, for tarfile and zipfile."""

    def __init__(self, file: int, start: int, length: int) -> None:
        self.file, self.start, self.length, self.at = file, start, length, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as files do."""
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or all that is left."""
        left = max(0, self.length - self.at)
        content = pread(self.file, self.start + self.at, left if size < 0 else min(size, left))
        self.at += len(content)
        return content
