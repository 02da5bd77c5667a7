"""Read tables of any kind as rows of text: CSV and its relatives, lists, JSON, JSON Lines, Parquet."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple

from distalex.data.images import is_image
from distalex.errors import UserError

RECORDS = (".json", ".jsonl", ".ndjson", ".manifest")
LINES = (".csv", ".tsv", ".tab", ".txt", ".lst", ".list")
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".manifest", ".parquet")
"""Of files that are tables where they are named themselves."""


class Table(NamedTuple):
    """Rows of text."""

    place: str
    """Where it was read, for messages."""
    header: list[str] | None
    """Names of the columns, of JSON and Parquet; else None, and the first row may be a header."""
    rows: list[tuple[int, list[str]]]
    """Number of the line, and its cells."""
    unit: str = "line"
    """What rows are numbered as."""


def is_table(name: str) -> bool:
    """Whether a file is named as a table."""
    return name.lower().endswith(SUFFIXES)


def parse_table(content: bytes, name: str, place: str) -> Table:
    """Read the table in a file's bytes; `name` says its kind. Raises UserError where it cannot be understood."""
    text = _decoded(content, place)
    if name.lower().endswith(RECORDS):
        return _records(text, place)
    return Table(place, None, list(_lines(text, name.lower(), place)))


def _decoded(content: bytes, place: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif content[1:2] == b"\0":  # Windows' Unicode without its mark
        encoding = "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 at byte {error.start:,}; save it as UTF-8") from None


def _lines(text: str, name: str, place: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row; comments of lists are left out."""
    lines = text.splitlines()
    delimiter = "\t" if name.endswith((".tsv", ".tab")) else _delimiter([line for line in lines if line.strip()][:20], name)
    if delimiter == " ":
        rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
        later = [cell for _, row in rows[:200] for cell in row[1:]]
        words = not any(map(is_image, later)) and any(
            not re.fullmatch(r"-?[\d.]+", cell) for _, row in rows[:200] for cell in row[2:]
        )  # a class of several words
        yield from ((number, [row[0], " ".join(row[1:])] if words and len(row) > 1 else row) for number, row in rows)
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row) and not (row[0].startswith("#") and not name.endswith((".csv", ".tsv"))):
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise UserError(f"{place}, line {reader.line_num}: {error}; quote cells that hold commas or quotes") from None


def _delimiter(lines: list[str], name: str) -> str:
    """The character that splits most lines into the same number of cells, two or more; a space only in lists."""
    best, most = ",", 0
    for delimiter in ("\t", ";", "|", ","):
        counts = Counter(re.sub(r'"[^"]*"', "", line).count(delimiter) for line in lines if not line.startswith("#"))
        count, agreeing = max(counts.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        if count and agreeing >= most:
            best, most = delimiter, agreeing
    return best if most or (name.endswith(".csv") and not all(re.search(r"\.\w+ +\S+$", line) for line in lines[1:])) else " "


def _records(text: str, place: str) -> Table:
    """Rows of JSON Lines, a list of objects, an object of names and classes, or COCO's images, annotations and categories."""
    try:
        value = json.loads(text)
        records = list(enumerate(_listed(value), 1))
        unit = "record"
    except ValueError:
        unit = "line"
        records = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    records.append((number, json.loads(line)))
                except ValueError as error:
                    raise UserError(f"{place}, line {number}: not JSON ({error}); write one object a line, or one list") from None
    flat = [(number, _flat(record)) for number, record in records if isinstance(record, dict)]
    header = list(dict.fromkeys(key for _, record in flat for key in record))
    return Table(place, header, [(number, [record.get(key, "") for key in header]) for number, record in flat], unit)


def _listed(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("images"), list) and isinstance(value.get("annotations"), list):
        return _coco(value)
    if value and all(isinstance(item, str | int) and not isinstance(item, bool) for item in value.values()):
        return ({"path": key, "label": item} for key, item in value.items())
    if value and all(isinstance(item, dict) and not all(isinstance(one, dict) for one in item.values()) for item in value.values()):
        return ({"path": key, **item} for key, item in value.items())
    labels, classes = value.get("labels"), value.get("classes")
    if isinstance(labels, dict) and isinstance(classes, list):  # FiftyOne's: numbers of classes by name
        return ({"path": key, "label": classes[item] if isinstance(item, int) else item} for key, item in labels.items())
    if isinstance(labels, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in labels):  # StyleGAN's pairs
        return ({"path": path, "label": label} for path, label in labels)
    lists = [item for item in value.values() if isinstance(item, list)]
    if len(lists) == len(value) > 1 and len(set(map(len, lists))) == 1 and any(re.search("file|path|image", key.lower()) for key in value):
        return (dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True))  # a list for each column
    if value and len(lists) == len(value):  # Food-101's train.json: a class and its images
        return ({"path": item, "label": key} for key, items in value.items() for item in items if isinstance(item, str))
    inner = next((item for item in value.values() if isinstance(item, dict) and all(isinstance(one, dict) for one in item.values())), None)
    return _listed(inner) if inner else next((item for item in lists if item and isinstance(item[0], dict)), [])


def _coco(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A record for each annotation: iNaturalist's and COCO's JSON names images, annotations and categories by number."""

    def number(record: Mapping[str, Any], kind: str) -> Any:
        return record.get("id", record.get(f"{kind}_id"))

    names = {
        number(category, "category"): category.get("name", category.get("scientificName", number(category, "category")))
        for category in value.get("categories", [])
    }
    files = {number(image, "image"): image.get("file_name") for image in value["images"]}
    for annotation in value["annotations"]:
        category = annotation.get("category_id")
        boxed = {"bbox": json.dumps(annotation["bbox"])} if annotation.get("bbox") else {}
        yield {"file_name": files.get(annotation.get("image_id")), "label": names.get(category, category), **boxed}


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A record's texts and numbers by dotted name; of a list the only item."""
    flat: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat[f"{prefix}{key}"] = json.dumps(value)
        elif value is not None:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def parquet_table(content: bytes, path: str) -> Table:
    """The rows of a Parquet file of words and numbers, from its bytes. Raises UserError where it is none, or pyarrow is missing."""
    pyarrow = import_pyarrow(path)
    try:
        table = pyarrow.parquet.read_table(BytesIO(content))
    except (OSError, pyarrow.ArrowException):
        raise UserError(f"{path}: not a Parquet file; write it once more") from None
    kept = [name for name in table.column_names if not pyarrow.types.is_nested(table.schema.field(name).type)]
    columns = [table.column(name).to_pylist() for name in kept]
    rows = zip(*columns, strict=True)
    return Table(path, kept, [(number, ["" if cell is None else str(cell) for cell in row]) for number, row in enumerate(rows, 1)], "row")


def import_pyarrow(place: str) -> Any:
    """Import pyarrow with its reader of Parquet. Raises UserError, with what to type, where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{place}: Parquet needs pyarrow, which is not installed: pip install pyarrow; or save the table as CSV") from None
    return pyarrow
