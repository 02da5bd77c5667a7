"""A table of images that is named itself, as `data.root`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from distalex.data.files.kinds import sort_by_kind
from distalex.data.files.tree import HEAD, Files, folder_files, read_file, stamp
from distalex.data.images import is_image
from distalex.data.layouts.columns import PATHS, SPLIT_VALUES, Row, find_columns, names_of, normal, rows_of
from distalex.data.layouts.listing import Index
from distalex.data.layouts.names import TEST, TRAIN, Layout, Sample, Splits
from distalex.data.layouts.table import Table, parquet_table, parse_table
from distalex.errors import UserError, brief


def read_root_table(root: str, wanted: Mapping[str, str] | None) -> tuple[Files, Layout]:
    """The images that a table lists, and their samples by split.

    Paths are relative to the table's folder, or names of images in and below it. Raises UserError, with the line, for a table that
    cannot be understood.
    """
    path = Path(root)
    if not path.is_file():
        raise UserError(f"data.root={root}: no such file; name a table of images (.csv, .tsv, .json, .jsonl, .parquet)")
    table = _opened(path)
    below = Index(())
    columns = find_columns(table, lambda cell: is_image(cell) or _exists(path, cell), wanted)
    if columns is None and table.rows:  # names without suffix, or of another machine
        below = Index(sort_by_kind(folder_files(path.parent)).images)
        columns = find_columns(table, lambda cell: below.find(cell) is not None, wanted)
    if len(table.rows) == (table.header is None and bool({*PATHS} & set(map(normal, names_of(table))))):
        raise UserError(f"{path}: holds no rows; a path and a class in each are needed")
    if columns is None or (columns.label is None and not columns.one_hot):
        shown = (
            f"its columns are {brief(', '.join(names_of(table)))}"
            if table.header
            else f"its first row is {','.join(names_of(table))[:60]!r}"
        )
        raise UserError(
            f"{path}: {shown}; a header with path and label (and split) is needed, or rows of path,label, or "
            "data.columns=path:NAME,label:NAME"
        )
    rows = rows_of(table, columns)
    if not any(_exists(path, row.path) for row in rows[:50]):
        below = below if below.names else Index(sort_by_kind(folder_files(path.parent)).images)
        rows = _found_below(path, rows, below)
    rows = [row._replace(path=os.path.normpath(row.path)) for row in rows]
    return _files(root, path, table, rows), Layout(f"a table of {len(rows):,} rows", _splits(path, table, rows))


def _opened(path: Path) -> Table:
    try:
        if path.suffix.lower() == ".parquet":
            return parquet_table(path.read_bytes(), str(path))
        return parse_table(path.read_bytes(), path.name, str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give another file") from None


def _exists(table: Path, cell: str) -> bool:
    return bool(cell.strip()) and len(cell) < 1024 and os.path.isfile(table.parent / cell.strip().replace("\\", "/"))


def _found_below(path: Path, rows: list[Row], below: Index) -> list[Row]:
    """`rows` with the paths of the images that they name in and below the table's folder; as they are where they name none."""
    found = [(row, below.find(row.path)) for row in rows]
    if not any(name for _, name in found):
        return rows
    missing = next((row for row, name in found if name is None), None)
    if missing:
        raise UserError(
            f"{path}, line {missing.number}: no image below {path.parent} is named {missing.path}; remove the row, put the image there, or "
            f"name the folder as data.root and the table with data.labels={path}"
        )
    return [row._replace(path=name) for row, name in found if name]


def _files(root: str, path: Path, table: Table, rows: list[Row]) -> Files:
    """The images of rows. Raises UserError for one that is listed twice."""
    lines = {row.path: row.number for row in rows[::-1]}
    if len(lines) < len(rows):
        row = next(row for row in rows if lines[row.path] != row.number)
        raise UserError(
            f"{path}, {table.unit} {row.number}: {row.path} is listed in {table.unit} {lines[row.path]} already; list each image once"
        )
    return Files(
        root,
        [row.path for row in rows],
        lambda name: read_file(path.parent / name),
        lambda name: read_file(path.parent / name, HEAD),
        lambda name: f"{path}, line {lines[name]}: {name}",
        lambda name: stamp(path.parent / name),
    )


def _splits(path: Path, table: Table, rows: list[Row]) -> Splits:
    """Samples by the words in the split column; with both `val` and `test` rows, the former are left out, as with folders."""
    words: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        word = (row.split or "").lower()
        if word not in SPLIT_VALUES:
            raise UserError(f"{path}, {table.unit} {row.number}: split {row.split!r} is none of {', '.join((*TRAIN, *TEST))}; correct it")
        words[word].append(Sample(row.path, row.label or ""))
    if "" in words and len(words) > 1:
        raise UserError(f"{path}: some rows have a split and others do not; give all rows one (train or test), or none")
    train, test = (next((words[word] for word in known if word in words), None) for known in (TRAIN, (*TEST, "dev")))
    return {"train": train, "test": test} if train and test else {"all": train or test or words[""]}
