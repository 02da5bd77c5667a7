"""Files of a folder by name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distalex.errors import UserError


@dataclass(frozen=True)
class Files:
    """Files in one order, read by name."""

    origin: str
    names: Sequence[str]
    """With forward slashes, relative to the origin."""
    read: Callable[[str], bytes]
    """The content of a file; may raise OSError. From any thread, and from processes that were forked."""
    where: Callable[[str], str]
    """A file's place, for messages."""
    stamp: Callable[[str], str]
    """Size and time of a file, or of its archive: another where its content was changed."""
    archives: bool = False
    """Whether names begin with those of archives."""


def printable(name: str) -> str:
    """A file name that is not UTF-8 with those bytes written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_hidden(name: str) -> bool:
    """What a desktop leaves in folders and archives."""
    return name.startswith(".") or name == "__MACOSX"


def folder_files(root: Path) -> Files:
    """All files below `root`, links followed, hidden ones left out; each folder once, so that a link upwards is no circle."""
    names = sorted(_names_below(root, "", {os.path.realpath(root)}))
    return Files(
        str(root), names, lambda name: read_file(root / name), lambda name: printable(str(root / name)), lambda name: stamp(root / name)
    )


def stamp(path: Path) -> str:
    """Size and time of a file; nothing where it is none."""
    try:
        state = os.stat(path)
    except OSError:
        return ""
    return f"{state.st_size}/{state.st_mtime_ns}"


def _names_below(folder: Path, prefix: str, seen: set[str]) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{printable(str(folder))}: cannot be listed ({error.strerror}); make it readable or take it away") from None
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() or len(seen) > 1 else entry.path
            if real not in seen:
                yield from _names_below(Path(entry.path), f"{prefix}{entry.name}/", seen | {real})
        else:
            yield prefix + entry.name


def read_file(path: Path) -> bytes:
    """A regular file's content. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait forever
        raise OSError("not a regular file")
    return path.read_bytes()
