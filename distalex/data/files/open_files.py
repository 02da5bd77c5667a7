"""Open what `data.root` names: a folder, an archive, or several archives."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from distalex.data.files.archives import archive_files, begins_as_archive, is_archive, stem_of
from distalex.data.files.tree import Files, folder_files
from distalex.errors import UserError


def open_files(root: str) -> Files:
    """The files of a folder, of a tar or zip archive, or of all archives in a folder or named by `part-*.tar` or `part-{000..009}.tar`.

    Raises UserError where there is nothing, or an archive is damaged.
    """
    path = Path(root)
    if path.is_dir():
        files = folder_files(path)
        archives = [name for name in files.names if is_archive(name)]
        others = [name for name in files.names if not is_archive(name)]
        if not archives or not all(map(_describes, others)):
            return files
        return _together(root, archive_files([path / name for name in archives], root, list(map(stem_of, archives))), files, others)
    if path.is_file():
        if path.name.lower().endswith((".rar", ".7z")):
            tool = "unrar x" if path.name.lower().endswith(".rar") else "7z x"
            raise UserError(f"data.root={root}: an archive of a kind that is not read; unpack it ({tool} {path.name}) and name the folder")
        if path.name.endswith(".beton"):
            raise UserError(f"data.root={root}: already a prepared file; use --data.name=beton --data.train={root}, or: train {root}")
        if not is_archive(path.name) and not begins_as_archive(path):
            raise UserError(
                f"data.root={root}: not a folder, tar archive or table of images; name one of these (archives: .tar, .tar.gz, .zip; "
                "tables: .csv, .tsv, .json, .jsonl, .parquet)"
            )
        return archive_files([path], root)
    found = [name for pattern in _braces(root) for name in matching(pattern)]
    if found:
        above = os.path.commonpath([os.path.dirname(name) for name in found]) if len(found) > 1 else os.path.dirname(found[0])
        return archive_files(list(map(Path, found)), root, [stem_of(os.path.relpath(name, above or ".")) for name in found])
    raise UserError(f"data.root={root}: no such file or folder; name a folder, an archive or a table of images")


def matching(pattern: str) -> list[str]:
    """List the files that a pattern stands for, in order; the longest folder at its start that exists is taken as it is written."""
    parts = pattern.split("/")
    fixed = max(count for count in range(len(parts)) if count == 0 or os.path.isdir("/".join(parts[:count]) or "/"))
    return sorted(glob.glob("/".join([*map(glob.escape, parts[:fixed]), *parts[fixed:]]), recursive=True))


def _describes(name: str) -> bool:
    """Whether a file may lie beside archives: labels, notes, checksums, a devkit."""
    return name.lower().endswith(
        (".txt", ".csv", ".tsv", ".json", ".jsonl", ".mat", ".md", ".md5", ".sha256", ".tar.gz", ".tgz", ".bin", ".pdf", ".idx")
    )


def _together(root: str, archives: Files, folder: Files, others: list[str]) -> Files:
    """The files in archives, and the `others` of the folder that the archives lie in."""
    kept = set(others)

    def of(name: str) -> Files:
        return folder if name in kept else archives

    return Files(
        root,
        [*archives.names, *others],
        lambda name: of(name).read(name),
        lambda name: of(name).head(name),
        lambda name: of(name).where(name),
        lambda name: of(name).stamp(name),
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
