"""The images to predict: files that the command line names, read as the run stores images."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex.data.files.archives import is_archive
from distalex.data.files.kinds import sort_by_kind
from distalex.data.files.open_files import matching, open_files
from distalex.data.files.tree import read_file
from distalex.data.images import open_image, square
from distalex.errors import UserError
from distalex.machine.resources import cores

READ_AT_ONCE = 256
"""Most images of a batch of files."""


class StoredImages(NamedTuple):
    """Images as a run stores them, with their names."""

    pixels: Tensor
    """(n, side, side, 3) uint8, RGB."""
    names: list[str]
    actual: list[str] | None
    """Actual labels, where known."""


class NamedFile(NamedTuple):
    """An image file that the command line stands for."""

    name: str
    typed: bool
    """Whether by its own name, so that it has to be an image, and not by its folder or a pattern."""
    read: Callable[[], bytes] | None = None
    """Reads it, where it lies in an archive. Raises OSError."""


def files_named(words: Sequence[str]) -> list[NamedFile]:
    """List the files that words stand for: files, all images in folders and archives, patterns.

    Raises UserError where a word stands for none.
    """
    files: list[NamedFile] = []
    for word in words:
        if "://" in word:
            raise UserError(f"{word}: distalex reads files and downloads nothing; download it first, e.g. with: curl -O {word}")
        if Path(word).is_dir() or (is_archive(word) and Path(word).is_file()):
            inside = open_files(word)  # the same files as training takes
            kinds = sort_by_kind(inside)
            unread = [f"{len(names):,} of {kind}" for kind, names in kinds.unread.items()]
            if not kinds.images:
                others = f" but {'; '.join(unread)}" if unread else ""
                raise UserError(f"{word}: no image there{others}; images have extensions such as .jpg, .png and .webp")
            if unread:
                print(f"left out of {word}: {'; '.join(unread)}", file=sys.stderr, flush=True)
            files += [NamedFile(inside.where(name), False, partial(inside.read, name)) for name in kinds.images]
        elif glob.has_magic(word) and not Path(word).exists():
            found = matching(word)
            if not found:
                raise UserError(f"{word}: no file matches; check the pattern")
            files += [NamedFile(name, False) for name in found]
        else:
            files.append(NamedFile(word, True))
    return files


def labels_by_folder(files: Sequence[NamedFile], classes: Collection[str]) -> dict[str, str]:
    """Return the class of each file, by name, where every file lies in a folder that is named after one of the classes; else nothing."""
    found = {file.name: next((part for part in reversed(Path(file.name).parts[:-1]) if part in classes), None) for file in files}
    return {name: label for name, label in found.items() if label} if all(found.values()) else {}


def read_files(files: Sequence[NamedFile], side: int, resize: str, labels: Mapping[str, str] | None = None) -> Iterator[StoredImages]:
    """Read image files in batches, as `read_image` does; an unreadable file is reported on stderr and left out.

    `labels` has actual labels by file, where they are known.

    Raises UserError for an unreadable file that was named itself.
    """

    def read(file: NamedFile) -> np.ndarray | None:
        try:
            return read_image(file.name, side, resize, file.read)
        except UserError as error:
            if file.typed:
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            return None

    rest = iter(files)
    with ThreadPoolExecutor(cores()) as readers:
        while batch := list(islice(rest, READ_AT_ONCE)):
            images = [(image, file.name) for image, file in zip(readers.map(read, batch), batch, strict=True) if image is not None]
            if images:
                names = [name for _, name in images]
                actual = [labels[name] for name in names] if labels else None
                yield StoredImages(torch.from_numpy(np.stack([image for image, _ in images])), names, actual)


def read_image(name: str, side: int, resize: str, read: Callable[[], bytes] | None = None) -> np.ndarray:
    """Read an image file, or standard input for `-`, or what `read` gives, as (side, side, 3) uint8, resized as the run's images were.

    Raises UserError where it is missing or unreadable.
    """
    read = read or (sys.stdin.buffer.read if name == "-" else partial(read_file, Path(name)))
    try:
        return square(open_image(read()), side, resize)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: not a readable image ({error.strerror or error})") from None
