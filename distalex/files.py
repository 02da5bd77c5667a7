"""Files replaced all at once, locks, and the one message for a place that cannot be written."""

from __future__ import annotations

import fcntl
import glob
import io
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distalex.errors import UserError

FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Noto Sans Arabic",
    "Noto Emoji",
)
"""Of figures; a letter that the first lacks is taken from the next that has it."""
FIGURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
"""What figures are saved as, by the ending of the path that was given."""


@contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; at the end of the block it becomes `path`, and is on the disk.

    A reader sees the old file or the new one, never a half-written one. Where the block raises, `path` stays as it was and
    nothing is left behind. For large files, and for libraries that write to a path; raises OSError where the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):  # a folder that is read-only has raised above
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` with a file of `content`, all at once. Raises OSError where the disk refuses."""
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(content)


def link_atomically(path: Path, other: Path) -> None:
    """Replace `other` with a hard link to `path`, or with a copy on a disk without links. Raises OSError where the disk refuses."""
    with replaced_atomically(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def remove_half_written(path: Path) -> None:
    """Remove what killed processes have left of writing `path`; call it where only one process writes it."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        stale.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the disk keep which files `folder` holds, so that a replaced file stays replaced after a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refuse_unwritable(path: Path, option: str = "", way_out: str = "give another place") -> Iterator[None]:
    """Raise UserError, "PATH: cannot be written (REASON); give another place", for an OSError in the block.

    `option` is the one that named the path, without dashes: the message then begins with `OPTION=PATH`.
    """
    try:
        yield
    except OSError as error:
        place = f"{option}={path}" if option else str(path)
        raise UserError(f"{place}: cannot be written ({error.strerror or error}); {way_out}") from None


MOMENT = 1.0
"""Seconds that a lock is waited for without a word."""


class Lock:
    """Exclusive `flock` on a file or folder. Released when the process exits.

    A missing file is created. With `removed`, it is removed on release.
    """

    def __init__(self, path: Path, removed: bool = False) -> None:
        self.path, self.removed = path, removed
        self.descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False where another process holds it.

        Raises OSError where the path cannot be opened, or on a file system without locks.
        """
        while True:
            flags = os.O_RDONLY if self.path.is_dir() else os.O_RDWR | os.O_CREAT
            descriptor = os.open(self.path, flags, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self.removed or os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                    self.descriptor = descriptor
                    return True
            except BlockingIOError:
                return False
            except FileNotFoundError:
                pass  # its holder has just ended and removed it
            finally:
                if self.descriptor != descriptor:
                    os.close(descriptor)

    def wait(self, on_wait: Callable[[], None]) -> None:
        """Take the lock, however long another process holds it; `on_wait` is called once where that takes more than a moment."""
        begun, told = time.monotonic(), False
        while not self.acquire():
            if not told and time.monotonic() > begun + MOMENT:
                on_wait()
                told = True
            time.sleep(0.02 if not told else 0.2)

    def describe_holder(self, holder: str) -> None:
        """Write one line on this process into the locked file, for others to read."""
        self.path.write_text(f"{holder}\n", encoding="utf-8")

    def holder(self) -> str:
        """What the holder has written into the file; empty where that is unknown."""
        with suppress(OSError):
            return self.path.read_text(encoding="utf-8").strip()
        return ""

    def release(self) -> None:
        """Give the lock up, if it is held."""
        if self.descriptor is None:
            return
        if self.removed:
            self.path.unlink(missing_ok=True)  # while it is still held
        os.close(self.descriptor)
        self.descriptor = None


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the `Lock` on `path` in the block, waiting for it first; `on_wait` is called once where that takes more than a moment.

    Raises UserError for a lock that another user has made and does not share.
    """
    lock = Lock(path)
    try:
        lock.wait(on_wait)
    except PermissionError as error:
        raise UserError(
            f"{path}: cannot be opened ({error.strerror}); have its owner share the folder (chmod -R a+rwX), or name one of your own with "
            "DISTALEX_DATA"
        ) from None
    try:
        yield
    finally:
        lock.release()


def require_figure(path: Path, option: str) -> None:
    """Raise UserError unless the extension of `path`, given by `option`, is one that a figure can be written as."""
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise UserError(f"{option}={path}: unknown extension; use one of {', '.join(FIGURE_SUFFIXES)}")


def save_figure(figure: Any, path: Path, option: str) -> None:
    """Write a matplotlib figure to `path`, whole or not at all, in the format of its extension.

    Raises UserError that names `option` where the extension is unknown or the file cannot be written.
    """
    require_figure(path, option)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box, where no font here has it
        figure.savefig(content, dpi=120, format=path.suffix[1:].lower())
    with refuse_unwritable(path, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())


@contextmanager
def plain_letters() -> Iterator[None]:
    """Draw text with matplotlib as it stands: `$` is no formula, and letters of any script take an installed font that has them."""
    from matplotlib import font_manager, rc_context

    installed = set(font_manager.get_font_names())
    fonts = [name for name in FONTS if name in installed] or ["sans-serif"]
    with rc_context({"text.parse_math": False, "font.family": fonts}):
        yield
