"""Which columns of a table hold the image's place, its class and its split: by name, else by what is in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from distalex.data.images import is_image
from distalex.data.layouts.names import TEST, TRAIN, class_name
from distalex.data.layouts.table import Table
from distalex.errors import UserError, brief

PATHS = (
    *("path", "file_path", "filepath", "filepaths", "image_path", "img_path", "image_file_path", "relative_path", "rel_path"),
    *("file_name", "filename", "fname", "image_name", "img_name", "image_file", "image_filename", "file", "files", "file_list"),
    *("image", "img", "images", "picture", "photo", "source_ref", "url", "image_url", "uri", "gcs_uri"),
    *("image_id", "imageid", "img_id", "image_index", "file_id", "id_code", "uuid", "name", "id"),
)
LABELS = (
    *("label", "class", "class_name", "classname", "category", "category_name", "target", "label_name", "choice", "choices", "labels"),
    *("breed", "species", "species_name", "dx", "diagnosis", "disease", "variety", "level", "tag", "classes", "answer"),
    *("class_id", "classid", "category_id", "label_id", "class_label", "class_index", "landmark_id"),
    *("klasse", "étiquette", "classe", "etiqueta", "clase", "categoria", "categoría", "classificação", "类别", "标签", "クラス", "класс"),
)
SPLITS = ("split", "subset", "partition", "set", "data_set", "dataset", "fold", "phase", "usage")
FLAGS = {
    **dict.fromkeys(("is_train", "is_training", "is_training_image", "train"), ("test", "train")),
    **dict.fromkeys(("is_test", "test"), ("train", "test")),
    **dict.fromkeys(("is_valid", "is_val", "is_validation"), ("train", "val")),
}
"""Columns of zeros and ones, or False and True, that say a split: the splits of both values."""
SPLIT_VALUES = (*TRAIN, *TEST, "dev", "unassigned", "")
ZERO, ONE = ("0", "0.0", "false"), ("1", "1.0", "true")
SAMPLED = 200
"""Rows that are looked at to choose columns."""


class Columns(NamedTuple):
    """Numbers of a table's columns."""

    path: int
    label: int | None
    split: int | None
    flag: tuple[str, str] | None = None
    """The splits of zeros and ones in the column `split`; None where it holds words."""
    one_hot: tuple[int, ...] = ()
    """Columns of zeros and a one, each named by a class."""
    header: bool = True
    """Whether the first row is a header."""


class Row(NamedTuple):
    """A row of a table."""

    number: int
    path: str
    label: str | None
    split: str | None


def normal(name: str) -> str:
    """A column's name in lower case with underscores; of `data.image` in JSON the last part."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition(".")[2]) if not name.isupper() else name
    return re.sub(r"\W+", "_", words.lower()).strip("_")


def names_of(table: Table) -> list[str]:
    """Names of a table's columns as they are written; of one without a header its first row."""
    return list(table.header if table.header is not None else table.rows[0][1] if table.rows else [])


def find_columns(table: Table, is_place: Callable[[str], bool], wanted: Mapping[str, str] | None) -> Columns | None:
    """Choose the columns of a table; `is_place` tells whether a cell names an image, and `wanted` is `data.columns`.

    None where no column names images. The label may be missing. Raises UserError where a wanted column is not there.
    """
    if not table.rows:
        return None
    names = list(map(normal, names_of(table)))
    first = table.rows[0][1]
    sample = [row for _, row in table.rows[:SAMPLED]]
    known = {*PATHS, *LABELS, *SPLITS}
    has_header = table.header is not None or bool(wanted) or _looks_like_header(names, first, sample, is_place, known)
    body = sample if table.header is not None or not has_header else sample[1:]
    if wanted:
        return _wanted(table, names, wanted)
    named = names if has_header else []
    path = _path_column(named, body, is_place, len(names))
    if path is None:
        return None
    split = _named(named, SPLITS, path)
    if split is not None and not all(_cell(row, split).lower() in SPLIT_VALUES for row in body) and len({*names}) > 3:
        split = None  # such as fold numbers, or the set that an image comes from
    flag = None
    if split is None and (flagged := _named(named, tuple(FLAGS), path)) is not None and _is_binary(body, flagged):
        split, flag = flagged, FLAGS[named[flagged]]
    if split is None and not has_header:
        split = next(
            (at for at in range(len(first)) if at != path and all(_cell(row, at).lower() in SPLIT_VALUES[:-1] for row in body)), None
        )
    label = _label(named, path)
    one_hot: tuple[int, ...] = ()
    others = [at for at in range(len(names)) if at not in (path, split)]
    if label is None:
        one_hot = _one_hot(body, others) if has_header else ()
        label = None if one_hot else _only_label(path, others, has_header, body)
    return Columns(path, label, split, flag, one_hot, has_header and table.header is None)


def _looks_like_header(
    names: list[str], first: list[str], sample: Sequence[list[str]], is_place: Callable[[str], bool], known: set[str]
) -> bool:
    if any(is_image(cell) or is_place(cell) for cell in first):
        return False
    return bool(known & set(names)) or any(is_place(cell) for row in sample[1:20] for cell in row)


def _wanted(table: Table, names: list[str], wanted: Mapping[str, str]) -> Columns:
    written = names_of(table)

    def column(role: str) -> int | None:
        name = wanted.get(role)
        if name is None:
            return None
        for listed in (written, names):
            if name in listed:
                return listed.index(name)
        if normal(name) in names:
            return names.index(normal(name))
        if name.isdigit() and 1 <= int(name) <= len(names):
            return int(name) - 1
        raise UserError(
            f"data.columns={role}:{name}: {table.place} has no such column; its columns are {brief(', '.join(written))} "
            "(or give a number, counted from 1)"
        )

    path = column("path")
    if path is None:
        raise UserError(f"data.columns: path is missing; give path:NAME,label:NAME; columns of {table.place}: {brief(', '.join(written))}")
    by_number = all(name.isdigit() for name in wanted.values()) and table.header is None
    header = table.header is None and not (by_number and is_image(_cell(table.rows[0][1], path)))
    split = column("split")
    return Columns(path, column("label"), split, None if split is None else FLAGS.get(names[split]), (), header)


def _cell(row: Sequence[str], at: int) -> str:
    return row[at] if at < len(row) else ""


def _label(names: list[str], path: int) -> int | None:
    """The column of the classes: the best known by its name, or the only one whose name ends as one, such as `Finding Labels`."""
    known = _named(names, LABELS, path)
    ending = [at for at, name in enumerate(names) if at != path and re.search(r"(?<!num)_(labels?|class|category|diagnosis)$", name)]
    return ending[0] if known is None and len(ending) == 1 else known


def _named(names: list[str], known: Sequence[str], path: int) -> int | None:
    return next((names.index(name) for name in known if name in names and names.index(name) != path), None)


def _path_column(names: list[str], body: Sequence[list[str]], is_place: Callable[[str], bool], count: int) -> int | None:
    """The column most of whose cells name images; of several that with the best-known name, with suffixes, with the most different."""
    found = []
    for at in range(count):
        cells = [_cell(row, at) for row in body]
        share = sum(map(is_place, cells)) / max(1, len(cells))
        rank = PATHS.index(names[at]) if names and names[at] in PATHS else len(PATHS)
        if share > 0.5 or (share > 0 and rank < len(PATHS)):
            found.append((-round(share, 1), rank, not any(map(is_image, cells)), -len(set(cells)), at))
    return min(found)[-1] if found else None


def _one_hot(body: Sequence[list[str]], others: Sequence[int]) -> tuple[int, ...]:
    """Columns of zeros and ones with a single one in each row; empty where there are none. Raises nothing: several ones are no classes."""
    binary = [at for at in others if _is_binary(body, at)]
    if len(binary) < 2:
        return ()
    return tuple(binary)


def _is_binary(body: Sequence[list[str]], at: int) -> bool:
    return bool(body) and all(_cell(row, at).lower() in (*ZERO, *ONE) for row in body)


def _only_label(path: int, others: Sequence[int], has_header: bool, body: Sequence[list[str]]) -> int | None:
    """The label of a table whose columns have no known names: the only other column; in a list without a header that behind `path`."""
    if len(others) == 1:
        return others[0]
    behind = [at for at in others if at > path]
    return behind[0] if behind and not has_header and not _is_number_list(body, others) else None


def _is_number_list(body: Sequence[list[str]], others: Sequence[int]) -> bool:
    """Whether many numbers follow, such as the corners of a box."""
    return len(others) >= 4 and all(re.fullmatch(r"-?[\d.]+", _cell(row, at)) for row in body for at in others)


def rows_of(table: Table, columns: Columns) -> list[Row]:
    """Path, label and split of each row. Raises UserError where one is missing, or a row has no class or several."""
    rows = []
    names = names_of(table)
    for number, cells in table.rows[1 if columns.header else 0 :]:
        needed = max(columns.path, columns.label or 0, columns.split or 0, *columns.one_hot)
        place = f"{table.place}, {table.unit} {number}"
        if len(cells) <= needed:
            raise UserError(
                f"{place}: {len(cells)} cell(s) where a path and a class are needed: {','.join(cells)[:60]!r}; complete the row"
            )
        label = None
        if columns.one_hot:
            ones = [at for at in columns.one_hot if cells[at].strip().lower() in ONE]
            if len(ones) != 1:
                shown = ", ".join(names[at] for at in columns.one_hot[:4])
                raise UserError(
                    f"{place}: {len(ones)} of the columns {shown}, … are 1, and an image has one class; correct it, or name a column with "
                    "data.columns=path:NAME,label:NAME"
                )
            label = class_name(names[ones[0]])
        elif columns.label is not None:
            label = class_name(_whole(cells[columns.label].strip()))
        path = cells[columns.path].strip().replace("\\", "/")
        if not path or label == "":
            raise UserError(f"{place}: an empty {'class' if path else 'path'}; fill it in or remove the row")
        split = None if columns.split is None else cells[columns.split].strip()
        if columns.flag and split:
            split = columns.flag[split.lower() in ONE]
        rows.append(Row(number, path, label, split))
    _refuse_several(table, columns, {row.label for row in rows if row.label})
    return rows


def _refuse_several(table: Table, columns: Columns, classes: set[str]) -> None:
    """Raise UserError for a label that joins several: by a sign that others lack, in a list, or as words that are classes or numbers."""
    of_tags = columns.header and columns.label is not None and normal(names_of(table)[columns.label]) == "tags"
    signs = [sign for sign in "|;" if any(sign not in class_ for class_ in classes)]
    for label in sorted(classes) if not columns.one_hot else ():
        joined = any(sign in label for sign in signs) or re.match(r"[\[{].*[,:]", label)
        words = re.split(r"[,\s]+", label)
        if joined or (len(words) > 1 and (of_tags or all(word in classes or word.isdecimal() for word in words))):
            raise UserError(
                f"{table.place}: {label} is several classes, and an image has one here; keep one of them in each row, or name another "
                "column with data.columns=path:NAME,label:NAME"
            )


def _whole(text: str) -> str:
    """`3` for `3.0`, as spreadsheets write whole numbers."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)
