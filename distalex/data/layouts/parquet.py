"""Parquet files with the images' bytes inside, as Hugging Face hands sets out: written once into a file that can be read at any place."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distalex.data.files.entries import Entry, pread
from distalex.data.files.tree import HEAD, Files, stamp
from distalex.data.layouts.columns import LABELS, normal
from distalex.data.layouts.names import Layout, Sample, class_name, split_in
from distalex.data.layouts.table import import_pyarrow
from distalex.data.places import prepared_folder
from distalex.errors import UserError, brief
from distalex.files import replaced_atomically, write_atomically


def parquet_files(root: str) -> list[Path]:
    """Parquet files at a root: the root itself, or those in the first folders below one that holds them."""
    path = Path(root)
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    return sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet"), *path.glob("*/*.parquet")]) if path.is_dir() else []


def is_parquet(root: str) -> bool:
    """Whether Parquet files with images inside lie at a root. Raises UserError where pyarrow is needed to tell, and not installed."""
    found = parquet_files(root)
    if not found:
        return False
    pyarrow = import_pyarrow(str(found[0]))
    try:
        return _image_column(pyarrow, pyarrow.parquet.read_schema(found[0])) is not None
    except (OSError, pyarrow.ArrowException):
        raise UserError(f"{found[0]}: not a Parquet file; write it once more") from None


def _image_column(pyarrow: Any, schema: Any) -> str | None:
    """The column of images: bytes, or a structure with them, as Hugging Face's `image` has it."""
    types = pyarrow.types
    for field in schema:
        kind = field.type
        if types.is_struct(kind) and any(part.name == "bytes" for part in kind):
            return str(field.name)
        if types.is_binary(kind) or types.is_large_binary(kind):
            return str(field.name)
    return None


def read_parquet(root: str) -> tuple[Files, Layout]:
    """The images in Parquet files and their samples by split, which is a word in a file's name. Raises UserError."""
    paths = sorted(set(parquet_files(root)))
    digest = hashlib.blake2b("".join(f"{path.resolve()}{stamp(path)}" for path in paths).encode(), digest_size=6).hexdigest()
    packed = prepared_folder() / f"{Path(root).resolve().name.split('.')[0]}-{digest}.images"
    index = packed.with_suffix(".images.json")
    if not index.is_file():
        with replaced_atomically(packed) as temporary:
            listed = list(_unpacked(root, paths, temporary))
        write_atomically(index, json.dumps(listed).encode())
    rows = {name: (Entry(name, start, length), label, split) for name, start, length, label, split in json.loads(index.read_text())}

    def read(name: str, most: int = 2**40) -> bytes:
        file = os.open(packed, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return pread(file, rows[name][0].start, min(most, rows[name][0].length))
        finally:
            os.close(file)

    files = Files(root, list(rows), read, lambda name: read(name, HEAD), lambda name: f"{root}: {name}", lambda name: f"{digest}/{name}")
    splits: dict[str, list[Sample]] = defaultdict(list)
    for name, (_, label, split) in rows.items():
        splits[split].append(Sample(name, label))
    test = "test" if "test" in splits else "val"
    if "train" in splits and test in splits:
        left_out = {"not used beside test": [sample.name for sample in splits["val"]]} if test == "test" and "val" in splits else {}
        return files, Layout("Parquet with images inside", {"train": splits["train"], "test": splits[test]}, left_out)
    return files, Layout("Parquet with images inside", {"all": [sample for samples in splits.values() for sample in samples]})


def _unpacked(root: str, paths: Sequence[Path], target: Path) -> Iterator[tuple[str, int, int, str, str]]:
    """Write the bytes of all images to `target`; yields name, start, length, class and split of each."""
    pyarrow = import_pyarrow(root)
    at = 0
    with open(target, "wb") as out:
        for path in paths:
            file = pyarrow.parquet.ParquetFile(path)
            image = _image_column(pyarrow, file.schema_arrow)
            label = next((name for known in LABELS for name in file.schema_arrow.names if normal(name) == known), None)
            if image is None or label is None:
                raise UserError(
                    f"{path}: columns of images and of classes (image, label) are needed, found "
                    f"{brief(', '.join(file.schema_arrow.names))}; rename the column of the classes to label"
                )
            classes = _names(file.schema_arrow, label)
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=[image, label]):
                for cell, value in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                    content = cell.get("bytes") if isinstance(cell, dict) else cell
                    if not content or value is None or isinstance(value, list | dict):
                        raise UserError(f"{path}, row {number + 1}: has no image inside, or not one class; write both into each row")
                    out.write(content)
                    named = classes[value] if isinstance(value, int) and 0 <= value < len(classes) else value
                    yield f"{path.name} row {number + 1}", at, len(content), class_name(str(named)), split_in(path.stem) or ""
                    at, number = at + len(content), number + 1


def _names(schema: Any, label: str) -> list[str]:
    """Names of numbered classes, which Hugging Face writes into the file's description; empty where there are none."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = described.get("info", {}).get("features", {}).get(label, {})
    return [str(name) for name in feature.get("names", [])] if isinstance(feature, dict) else []
