"""Open what `data.root` names: a folder, a tar archive, or several archives."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from distalex.data.files.tar import COMPRESSED, TAR, tar_files
from distalex.data.files.tree import Files, folder_files
from distalex.errors import UserError


def open_files(root: str) -> Files:
    """The files of a folder, of a tar archive, or of all tar archives in a folder or named by `part-*.tar` or `part-{000..009}.tar`.

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
        if not _is_archive(path.name) and not _begins_as_tar(path):
            raise UserError(
                f"data.root={root}: not a folder, tar archive or table of images; name one of these (tables: .csv, .tsv, .parquet)"
            )
        return tar_files([path], root)
    found = [name for pattern in _braces(root) for name in sorted(glob.glob(pattern))]
    if found:
        above = os.path.commonpath([os.path.dirname(name) for name in found]) if len(found) > 1 else os.path.dirname(found[0])
        return tar_files(list(map(Path, found)), root, [_stem(os.path.relpath(name, above or ".")) for name in found])
    raise UserError(f"data.root={root}: no such file or folder; name a folder, a tar archive or a table of images")


def _begins_as_tar(path: Path) -> bool:
    """Whether a file that is not named as an archive is one."""
    with open(path, "rb") as file:
        return file.read(262)[257:] == b"ustar"


def _is_archive(name: str) -> bool:
    """Whether a file is named as an archive of images, which ImageNet's devkit is not."""
    return name.lower().endswith(TAR + COMPRESSED) and "devkit" not in name.lower()


def _stem(name: str) -> str:
    """An archive's name without its suffixes."""
    return re.sub(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2|txz)$", "", name, flags=re.IGNORECASE)


def _describes(name: str) -> bool:
    """Whether a file may lie beside archives: labels, notes, checksums, a devkit."""
    return name.lower().endswith((".txt", ".csv", ".tsv", ".json", ".mat", ".md", ".md5", ".sha256", ".tar.gz", ".tgz", ".bin"))


def _together(root: str, archives: Files, folder: Files, others: list[str]) -> Files:
    """The files in archives, and the `others` of the folder that the archives lie in."""
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
    """`a-{08..10}.tar` stands for a-08.tar, a-09.tar, a-10.tar."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if not match:
        return [pattern]
    first, last = match.groups()
    numbers = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return [whole for number in numbers for whole in _braces(pattern[: match.start()] + number + pattern[match.end() :])]
