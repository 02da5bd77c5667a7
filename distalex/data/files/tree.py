"""Files under names, and those of a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distalex.errors import UserError

HEAD = 32
"""Bytes that tell kinds of files apart."""


@dataclass(frozen=True)
class Files:
    """Files in a fixed order, read by name."""

    origin: str
    """What they were opened from: the folder, archive or pattern that the user named."""
    names: Sequence[str]
    """Paths with forward slashes, relative to the origin."""
    read: Callable[[str], bytes]
    """The content of a file, from any thread or forked process. Raises OSError where it cannot be read."""
    head: Callable[[str], bytes]
    """The first HEAD bytes of a file, as `read`."""
    where: Callable[[str], str]
    """The path of a file, or its archive and its name there, for messages."""
    stamp: Callable[[str], str]
    """Size and time of a file, or of its archive and its place there: another text once its content is changed."""
    archives: bool = False
    """Whether the first folder of each name is the name of an archive."""


def printable(name: str) -> str:
    """A file name for messages: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


HIDDEN = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Folders of macOS, Synology, Windows and Linux."""


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, as is what desktops and network drives leave in folders and archives."""
    return name.startswith(".") or name in HIDDEN


def folder_files(root: Path) -> Files:
    """All files below `root`; links are followed, hidden files left out, and a link to a folder above is not entered again.

    Raises UserError where a folder cannot be listed.
    """
    names = sorted(_names_below(root, "", {os.path.realpath(root)}))
    return Files(
        str(root),
        names,
        lambda name: read_file(root / name),
        lambda name: read_file(root / name, HEAD),
        lambda name: printable(str(root / name)),
        lambda name: stamp(root / name),
    )


def stamp(path: Path) -> str:
    """Size and time of a file; an empty text where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return ""
    return f"{state.st_size}/{state.st_mtime_ns}"


def _names_below(folder: Path, prefix: str, seen: set[str]) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{printable(str(folder))}: cannot be listed ({error.strerror}); make it readable or remove it") from None
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() or len(seen) > 1 else entry.path
            if real not in seen:
                yield from _names_below(Path(entry.path), f"{prefix}{entry.name}/", seen | {real})
        else:
            yield prefix + entry.name


def read_file(path: Path, length: int = -1) -> bytes:
    """The content of a regular file, or its first `length` bytes. Raises OSError where it cannot be read."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait forever
        raise OSError("not a regular file")
    with open(path, "rb") as file:
        return file.read(length)
