"""A table of images: CSV, TSV or Parquet with a path, a class and perhaps a split in each row."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from distalex.data.files.tree import Files, read_file, stamp
from distalex.data.images import is_image
from distalex.data.layouts.names import TEST, TRAIN, Sample, Splits, class_name
from distalex.errors import UserError

SUFFIXES = (".csv", ".tsv", ".parquet")
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "image_id", "picture")
LABELS = ("label", "class", "class_name", "category", "target", "label_name", "y")
SPLITS = ("split", "subset", "partition", "set", "fold")


def is_table(root: str) -> bool:
    """Whether `root` is named as a table."""
    return root.lower().endswith(SUFFIXES)


def read_table(root: str) -> tuple[Files, Splits]:
    """The images that a table lists, with paths relative to the table's folder, and their samples by split.

    Columns are found by name (path, label, split and the like); without a header the first two are path and label.
    Raises UserError, with the line, for a table that cannot be understood.
    """
    path = Path(root)
    if not path.is_file():
        raise UserError(f"data.root={root}: no such file; name a table of images (.csv, .tsv, .parquet)")
    rows = list(_parquet(path) if path.suffix.lower() == ".parquet" else _csv(path))
    if not rows:
        raise UserError(f"{path}: holds no rows; a path and a class in each are needed")
    rows = [(number, (os.path.normpath(name), label, split)) for number, (name, label, split) in rows]
    lines = {name: number for number, (name, _, _) in rows[::-1]}
    if len(lines) < len(rows):
        number, (name, _, _) = next((number, row) for number, row in rows if lines[row[0]] != number)
        raise UserError(f"{path}, line {number}: {name} is listed in line {lines[name]} already; list each image once")
    names = [name for _, (name, _, _) in rows]
    files = Files(
        root,
        names,
        lambda name: read_file(path.parent / name),
        lambda name: f"{path}, line {lines[name]}: {name}",
        lambda name: stamp(path.parent / name),
    )
    return files, _splits(path, rows)


def _splits(path: Path, rows: list[Row]) -> Splits:
    """Samples by the words in the split column; with both `val` and `test` rows, the former are left out, as with folders."""
    words: dict[str, list[Sample]] = defaultdict(list)
    for number, (name, label, split) in rows:
        word = (split or "").lower()
        if word not in ("", *TRAIN, *TEST):
            raise UserError(f"{path}, line {number}: split {split!r} is none of {', '.join((*TRAIN, *TEST))}; correct it")
        words[word].append(Sample(name, label))
    if "" in words and len(words) > 1:
        raise UserError(f"{path}: some rows have a split and others do not; give all rows one (train or test), or none")
    train, test = (next((words[word] for word in known if word in words), None) for known in (TRAIN, TEST))
    return {"train": train, "test": test} if train and test else {"all": train or test or words[""]}


Row = tuple[int, tuple[str, str, str | None]]


def _csv(path: Path) -> Iterator[Row]:
    """Line number and (path, label, split) of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start:,}; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give another file") from None
    reader = csv.reader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    columns: tuple[int, int, int | None] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if columns is None:
                columns, header = _columns_of(path, row)
                if header:
                    continue
            yield reader.line_num, _cells(path, reader.line_num, row, columns)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; quote cells that hold commas or quotes") from None


def _columns_of(path: Path, row: Sequence[str]) -> tuple[tuple[int, int, int | None], bool]:
    """Columns of path, label and split in the first row of a table, and whether that row is a header. Raises UserError."""
    names = [cell.strip().lower() for cell in row]
    place, label, split = (next((names.index(name) for name in known if name in names), None) for known in (PATHS, LABELS, SPLITS))
    if place is not None and label is not None:
        return (place, label, split), True
    if len(row) >= 2 and is_image(row[0].strip()):
        return (0, 1, None), False
    raise UserError(
        f"{path}: its first row is {','.join(row)[:60]!r}; a header with path and label (and split) is needed, or rows of path,label"
    )


def _cells(path: Path, number: int, row: Sequence[str], columns: tuple[int, int, int | None]) -> tuple[str, str, str | None]:
    """Path, label and split in row `number`. Raises UserError where one is missing."""
    place, label, split = columns
    if len(row) <= max(place, label, split or 0):
        raise UserError(
            f"{path}, line {number}: {len(row)} cell(s) where a path and a class are needed: {','.join(row)[:60]!r}; complete the row"
        )
    cells = row[place].strip(), class_name(row[label].strip()), None if split is None else row[split].strip()
    if not cells[0] or not cells[1]:
        raise UserError(f"{path}, line {number}: an empty {'path' if not cells[0] else 'class'}; fill it in or remove the row")
    return cells


def _parquet(path: Path) -> Iterator[Row]:
    """Row number and (path, label, split) of each row."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: Parquet needs pyarrow, which is not installed: pip install pyarrow; or save the table as CSV") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException):
        raise UserError(f"{path}: not a Parquet file; write it once more") from None
    columns, header = _columns_of(path, table.column_names)
    if not header:
        raise UserError(f"{path}: columns named path and label are needed, found {', '.join(table.column_names)[:60]}")
    listed = [table.column(place).to_pylist() if place is not None else [None] * len(table) for place in columns]
    for number, row in enumerate(zip(*listed, strict=True), 1):
        for name, cell in zip(("path", "class", "split"), row, strict=True):
            if not isinstance(cell, str | int | None):
                raise UserError(f"{path}, row {number}: a {type(cell).__name__} where a {name} is needed; write words or whole numbers")
        text = ["" if cell is None else str(cell) for cell in row]
        yield number, _cells(path, number, text, (0, 1, None if columns[2] is None else 2))
