"""The entries of a tar archive, found without unpacking; an archive of archives (ImageNet's own) is read through."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import IO, cast

from distalex.data.files.entries import Entry, Section
from distalex.data.files.tree import is_hidden, printable
from distalex.errors import UserError


def tar_entries(file: int, start: int, length: int, archive: str) -> Iterator[Entry]:
    """Yield the regular files of the tar archive at `start` of an open file, and those of archives that it holds.

    Raises UserError for an entry outside of the archive, ValueError, EOFError or TarError for a damaged one.
    """
    section = Section(file, start, length)
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
            if name.lower().endswith(".tar"):
                for inner in tar_entries(file, begin, target.size, f"{archive}: {name}"):
                    yield inner._replace(name=f"{name[:-4]}/{inner.name}")
            else:
                yield Entry(name, begin, target.size)
        section.seek(tar.offset)  # tarfile takes anything that is no header for the end
        if section.read(512) != bytes(512):
            raise ValueError("it ends before its end mark: truncated, or damaged in the middle")


def _target(member: tarfile.TarInfo) -> str:
    """What a link in an archive names."""
    return os.path.normpath(member.linkname if member.islnk() else os.path.join(os.path.dirname(member.name), member.linkname))
