"""Tables and lists that lie beside images: which images each names, and the class and split that it gives them."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from distalex.data.files.kinds import without_suffix
from distalex.data.files.tree import Files, printable
from distalex.data.images import is_image
from distalex.data.layouts.columns import LABELS, Columns, find_columns, names_of, normal, rows_of
from distalex.data.layouts.names import split_in, tokens
from distalex.data.layouts.published import mat_table
from distalex.data.layouts.table import LINES, RECORDS, Table, parquet_table, parse_table
from distalex.errors import UserError, brief

MOST_IN_A_FOLDER = 300
"""Tables of a folder with more of them are taken for one to each image, and not read."""
BESIDE = (*LINES, *RECORDS, ".mat", ".parquet")
"""Suffixes of the tables and lists that are looked at."""
NO_TABLES = {"a spreadsheet": (".xlsx", ".xls", ".ods"), "XML, which is not read": (".xml",)}
"""Files that may hold labels and are not read, by what they are, with their suffixes."""
NO_LABELS = {"submission", "readme", "license", "requirements", "checksums"}
"""Words in the names of files that are no labels: Kaggle's sample submission has a made-up class for each test image."""


class Index:
    """Finds the image that a cell of a table stands for."""

    def __init__(self, images: Iterable[str]) -> None:
        self.names = set(images)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        self.by_number: dict[int, list[str]] = defaultdict(list)
        for name in self.names:
            stem = without_suffix(os.path.basename(name))
            self.by_stem[stem.casefold()].append(name)
            if stem.isdecimal():
                self.by_number[int(stem)].append(name)

    def find(self, cell: str, folder: str = "", split: str | None = None) -> str | None:
        """Return the name of the image that `cell` stands for in a table that lies in `folder` and is of `split`; None where none does.

        A cell may be a path of this or another machine, a URL, a name, or a name without suffix.
        """
        parts = [part for part in cell.strip().replace("\\", "/").partition("?")[0].split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        for whole in (folder + "/".join(parts), "/".join(parts)):
            if whole in self.names:
                return whole
        if "%" in cell and (plain := unquote(cell)) != cell and (image := self.find(plain, folder, split)):
            return image
        base = parts[-1]
        stems = (base, without_suffix(base))
        found = next((self.by_stem[stem.casefold()] for stem in stems if stem.casefold() in self.by_stem), [])
        found = [name for name in found if without_suffix(os.path.basename(name)) in stems] or found  # case matters where it can
        if not found and base.isdecimal():  # 7 for 00007.jpg
            found = self.by_number.get(int(base), [])
        if is_image(base) and len(found) > 1:
            found = [name for name in found if name.lower().endswith(os.path.splitext(base)[1].lower())] or found
        above = next((word for part in reversed(parts[:-1]) if (word := split_in(part))), split)
        if above:
            found = [name for name in found if _split_above(name) in (None, above)]
        if len(found) > 1:
            scores = [(_shared_end(parts, name), name.startswith(folder), name) for name in found]
            best = max(scores)[:2]
            found = [name for *score, name in scores if tuple(score) == best]
        return found[0] if len(found) == 1 else None


def _split_above(name: str) -> str | None:
    """The split of the folders that an image lies in."""
    return next((word for part in reversed(name.split("/")[:-1]) if (word := split_in(part))), None)


def _shared_end(parts: Sequence[str], name: str) -> int:
    """How many folders of a path, from the last, are those of an image."""
    folders = name.split("/")[:-1]
    count = 0
    while count < min(len(folders), len(parts) - 1) and folders[-1 - count] == parts[-2 - count]:
        count += 1
    return count


class Listing(NamedTuple):
    """What a table says of images."""

    place: str
    """The table, for messages."""
    name: str
    """Among the files, or its path."""
    labels: dict[str, str]
    """Class by image; empty where the table has no classes."""
    splits: dict[str, str]
    """Split by image, `train`, `val` or `test`, from a column or the table's name; empty where there are none."""
    images: list[str]
    """All images that it names."""
    missing: int
    """Rows that name no image that is there."""
    named: bool
    """Whether the column of the classes is known by its name, or was chosen by the user."""
    column: str
    """Name of that column."""
    columns: str
    """Names of all columns, for messages; of a table without a header its first row."""


def read_listing(table: Table, name: str, index: Index, wanted: Mapping[str, str] | None) -> Listing | None:
    """What a table says of the images of an `index`; None where it names none of them. Raises UserError, with the line."""
    folder = name[: name.rfind("/") + 1]
    split = split_in(os.path.splitext(os.path.basename(name))[0]) or _split_above(name)
    columns = find_columns(table, lambda cell: index.find(cell, folder, split) is not None, wanted)
    if columns is None:
        return None
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    images, missing = [], 0
    for row in rows_of(table, columns):
        image = index.find(row.path, folder, split)
        if image is None:
            missing += 1
            continue
        if row.label is not None:
            if labels.get(image, row.label) != row.label:
                raise UserError(
                    f"{table.place}, {table.unit} {row.number}: {printable(row.path)} is of class {labels[image]} and of {row.label}; an "
                    "image has one class here: objects in images are not detected"
                )
            labels[image] = row.label
        if where := split_in(row.split) if row.split else split:
            splits[image] = where
        images.append(image)
    if not images:
        return None
    classes = set(labels.values())
    named, column = _label_column(table, columns, wanted)
    if "partition" in tokens(name) and classes <= {"0", "1", "2"}:  # CelebA's splits by number
        labels = {}
    return Listing(table.place, name, labels, splits, images, missing, named, column, brief(", ".join(names_of(table))))


def _label_column(table: Table, columns: Columns, wanted: Mapping[str, str] | None) -> tuple[bool, str]:
    names = names_of(table)
    if columns.one_hot:
        return True, "one column a class"
    if columns.label is None:
        return False, ""
    if not columns.header and table.header is None:
        return bool(wanted), f"column {columns.label + 1}"
    return bool(wanted) or normal(names[columns.label]) in LABELS, f"column {names[columns.label]}"


def read_listings(
    files: Files, others: Sequence[str], images: Sequence[str], wanted: Mapping[str, str] | None
) -> tuple[list[Listing], list[str]]:
    """Read all tables among `others` that name images; also lines on those that cannot be understood.

    Of tables without `wanted`, the columns that the user named, only the splits are used. Raises UserError where none has them.
    """
    candidates = [name for name in others if name.lower().endswith(BESIDE) and not NO_LABELS & set(tokens(name))]
    index = Index(images if candidates else ())
    crowded = Counter(os.path.dirname(name) for name in candidates)
    listings: list[Listing] = []
    refused: list[UserError] = []
    problems = [
        f"{files.where(name)} is {kind}: save it as CSV"
        for name in others
        for kind, suffixes in NO_TABLES.items()
        if name.lower().endswith(suffixes) and os.path.splitext(os.path.basename(name))[0].casefold() not in index.by_stem
    ]
    for name in candidates:
        stem = os.path.splitext(os.path.basename(name))[0]
        if crowded[os.path.dirname(name)] > MOST_IN_A_FOLDER or stem.casefold() in index.by_stem:
            continue
        is_plain = not name.lower().endswith((".csv", ".tsv", ".jsonl", ".parquet"))  # notes, licences and settings are no tables
        table, place = None, files.where(name)
        try:
            content = files.read(name)
            table = _table(content, name, place)
            listing = read_listing(table, name, index, wanted) if table and table.rows else None
        except UserError as error:
            if not wanted:
                problems += [str(error).replace("; ", ": ")] * (not is_plain or "is of class" in str(error))
                continue
            refused.append(error)
            listing = _splits_alone(table, name, index)
        except OSError as error:
            problems.append(f"{files.where(name)} cannot be read ({error.strerror})")
            continue
        if listing:
            listings.append(listing)
        elif not is_plain and table and not wanted:
            problems.append(f"{place} names none of the images: its columns are {brief(', '.join(names_of(table)))}")
    if refused and not any(listing.labels for listing in listings):
        raise refused[0]
    return _first_folds(_of_one_level(_without_trainval(_without_captions(listings)))), problems


def _splits_alone(table: Table | None, name: str, index: Index) -> Listing | None:
    """The splits that a table without the wanted columns gives images; None where it cannot be understood."""
    try:
        listing = read_listing(table, name, index, None) if table else None
    except UserError:
        return None
    return listing._replace(labels={}) if listing else None


def _table(content: bytes, name: str, place: str) -> Table | None:
    """The table in a file's bytes; None for a MATLAB file that is none."""
    if name.lower().endswith(".parquet"):
        return parquet_table(content, place)
    return mat_table(content, place) if name.lower().endswith(".mat") else parse_table(content, name, place)


def _without_captions(listings: list[Listing]) -> list[Listing]:
    """Without the labels of tables that give each image its own: captions, numbers, or the names of classes by number.

    A short list whose labels another table gives to several images keeps them.
    """
    own = [listing for listing in listings if not listing.named and 1 < len(listing.labels) == len(set(listing.labels.values()))]
    shared = {label for listing in listings if listing not in own for label in listing.labels.values()}
    return [listing._replace(labels={}) if listing in own and not shared >= {*listing.labels.values()} else listing for listing in listings]


def _without_trainval(listings: list[Listing]) -> list[Listing]:
    """Of train, val and trainval lists those that belong together: trainval beside a test list, else train and val."""
    joint = [listing for listing in listings if re.search(r"train_?val", os.path.basename(listing.name).lower())]
    if not joint:
        return listings
    tested = any("test" in listing.splits.values() for listing in listings)
    if tested:
        return [listing for listing in listings if listing in joint or set(listing.splits.values()) <= {"test"}]
    apart = any("val" in listing.splits.values() for listing in listings)
    return [listing for listing in listings if listing not in joint] if apart else listings


def _of_one_level(listings: list[Listing]) -> list[Listing]:
    """FGVC-Aircraft gives each image a variant, a family and a manufacturer; the variants are its classes."""
    if not any("variant" in tokens(listing.name) for listing in listings):
        return listings
    return [listing for listing in listings if not {"family", "manufacturer"} & set(tokens(listing.name))]


def _first_folds(listings: list[Listing]) -> list[Listing]:
    """Of lists that differ only by a number and share images, such as train1.txt to train10.txt, the first."""
    by_name: dict[str, list[Listing]] = defaultdict(list)
    for listing in listings:
        by_name[re.sub(r"\d+", "", listing.name)].append(listing)
    kept = []
    for group in by_name.values():
        group.sort(key=lambda listing: [int(number) for number in re.findall(r"\d+", listing.name)])
        shares = len(group) > 1 and any(set(group[0].images) & set(other.images) for other in group[1:])
        kept += group[:1] if shares else group
    return kept


def named_listing(place: str, files: Files, others: Sequence[str], images: Sequence[str], wanted: Mapping[str, str] | None) -> Listing:
    """The table that `data.labels` names, which may lie among the `others`, and whose rows name `images`.

    Raises UserError where it names none of them, or has no classes.
    """
    inside = next((name for name in others if place in (name, files.where(name))), None)
    try:
        content = files.read(inside) if inside else Path(place).read_bytes()
    except OSError as error:
        raise UserError(f"data.labels={place}: cannot be read ({error.strerror}); name the file with the labels") from None
    table = _table(content, place, place)
    if table is None:
        raise UserError(f"data.labels={place}: not a table; name a CSV, JSON or Parquet file of images and classes")
    found = read_listing(table, inside or os.path.basename(place), Index(images), wanted)
    listing = _without_captions([found])[0] if found else None
    if listing is None or not listing.labels:
        columns = brief(", ".join(names_of(table)))
        what = "names none of the images" if listing is None else "has no column of classes"
        raise UserError(f"data.labels={place}: {what}; its columns are {columns}: choose with data.columns=path:NAME,label:NAME")
    return listing
