"""Sets of images of one small size in a few files: IDX (MNIST, EMNIST), SVHN, STL-10, CIFAR's binary version, NumPy archives."""

from __future__ import annotations

import csv
import gzip
import math
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from distalex.config.data import DataConfig
from distalex.data.found import Found
from distalex.data.layouts.names import ordered, split_in
from distalex.data.layouts.published import load_mat
from distalex.data.source import Source, of_arrays
from distalex.errors import UserError, brief

Split = tuple[np.ndarray, np.ndarray]
"""Images (n, height, width, 3) uint8 and labels (n,), whole numbers."""
IDX = re.compile(r"(?P<prefix>.*?)(?P<split>train|t10k|test)-images[-.]idx3-ubyte(?P<gz>\.gz)?$")
DEPTH = 2
"""Folders below the root that are looked into: torchvision unpacks MNIST into MNIST/raw."""


def is_array_file(name: str) -> bool:
    """Whether a file is named as one of a set of arrays."""
    base = name.rpartition("/")[2]
    known = ("train_X.bin", "data_batch_1.bin", "train_32x32.mat", "data_batch_1")
    return IDX.match(base) is not None or base in known or base.endswith((".npz", ".npy"))


def open_arrays(root: str, config: DataConfig) -> Found | None:
    """The set of arrays at `root`, a folder or one of its files; None where there is none.

    Raises UserError where there are several, or one is incomplete or damaged.
    """
    path = Path(root)
    for read in (_idx, _svhn, _stl10, _cifar_binary, _npz, _pixel_tables):
        found = read(path)
        if found is None:
            continue
        title, place, splits, names, unused = found
        sources = tuple(_source(title, split, arrays, names, config, place) for split, arrays in splits.items())
        return Found(title, str(place), sources, {"tables without a label": unused} if unused else {})
    return None


Read = tuple[str, Path, dict[str, Split], Sequence[str], list[str]]
"""A set by name, its place, its splits, the names of its classes, and files that are left out."""


def _source(title: str, split: str, arrays: Split, names: Sequence[str], config: DataConfig, place: Path) -> Source:
    pixels, labels = arrays
    if len(pixels) != len(labels) or not len(labels) or labels.min() < 0 or labels.max() >= len(names):
        raise UserError(
            f"{place}: the {split} set has {len(pixels)} images and {len(labels)} labels of {len(names)} classes; fetch it again"
        )
    side = config.stored_size or max(pixels.shape[1:3])
    return of_arrays(config.name, split, tuple(names), pixels, labels.astype(np.int64), side, str(place))


def _candidates(root: Path, fits: Callable[[str], bool]) -> list[Path]:
    """Files at a root, or in the first folders below it, whose names fit; the root itself where it is such a file."""
    if root.is_file():
        return [root] if fits(root.name) else []
    if not root.is_dir():
        return []
    levels = [path for depth in range(DEPTH + 1) for path in root.glob("/".join(["*"] * (depth + 1)))] if _is_small(root) else []
    return sorted(path for path in levels if fits(path.name) and path.is_file())


def _is_small(root: Path) -> bool:
    """Whether a folder has few entries, as those of array files have; a folder of a thousand classes is not searched."""
    return sum(1 for _, _ in zip(root.iterdir(), range(200), strict=False)) < 200


def _idx(root: Path) -> Read | None:
    """MNIST and its relatives, as they are handed out."""
    found: dict[tuple[Path, str], Path] = {}
    for path in _candidates(root, lambda name: IDX.match(name) is not None):
        match = IDX.match(path.name)
        assert match
        found.setdefault((path.parent, match["prefix"]), path)
    if root.is_file() and found:  # one of the files stands for its set
        found = {(root.parent, key[1]): path for key, path in found.items()}
    if not found:
        return None
    if len(found) > 1:
        paths = ", ".join(str(path) for path in found.values())
        raise UserError(f"data.root={root}: holds several sets of IDX files; name the file of one of them: {paths}")
    (folder, prefix), _ = next(iter(found.items()))
    is_emnist = prefix.startswith("emnist")
    splits = {}
    for split, words in (("train", ("train",)), ("test", ("t10k", "test"))):
        images, labels = (
            _first(folder, [f"{prefix}{word}-{kind}" for word in words]) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        if images is None or labels is None:
            raise UserError(f"{folder}: {prefix}{words[0]}-images-idx3-ubyte or its labels are missing; put all four files there")
        pixels = _read_idx(images)
        pixels = pixels.transpose(0, 2, 1) if is_emnist else pixels  # EMNIST stores columns first
        splits[split] = (np.repeat(pixels[..., None], 3, 3), _read_idx(labels))
    count = 1 + max(int(labels.max()) for _, labels in splits.values())
    names, splits = _emnist_names(folder / f"{prefix}mapping.txt", splits) or ([str(number) for number in range(count)], splits)
    return f"IDX files ({prefix}train-images-idx3-ubyte, …)", folder, splits, names, []


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    choices = [folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz")]
    choices += [Path(re.sub(r"-(idx\d)", r".\1", str(path))) for path in choices]  # as some programs unpack them
    return next((path for path in choices if path.is_file()), None)


def _read_idx(path: Path) -> np.ndarray:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin as IDX of bytes does")
        shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(content[3])]
        return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: not a whole IDX file ({error}); fetch it again") from None


def _emnist_names(mapping: Path, splits: dict[str, Split]) -> tuple[list[str], dict[str, Split]] | None:
    """EMNIST's classes by its mapping of labels to characters, with labels that begin at 0; None without one."""
    if not mapping.is_file():
        return None
    pairs = [line.split() for line in mapping.read_text(encoding="utf-8").splitlines() if line.strip()]
    labels = {int(label): number for number, (label, *_) in enumerate(pairs)}
    moved = {split: (pixels, np.vectorize(labels.get)(numbers)) for split, (pixels, numbers) in splits.items()}
    return [chr(int(code)) for _, code, *_ in pairs], moved


def _svhn(root: Path) -> Read | None:
    """SVHN's cropped digits: arrays (32, 32, 3, n) and labels 1 to 10, the last for the digit 0."""
    found = {path.name: path for path in _candidates(root, lambda name: name in ("train_32x32.mat", "test_32x32.mat"))}
    if not found:
        return None
    splits = {}
    for split in ("train", "test"):
        path = next(iter(found.values())).parent / f"{split}_32x32.mat"
        if not path.is_file():
            raise UserError(f"{path}: missing beside the other file of SVHN; fetch it too")
        values = load_mat(path.read_bytes(), str(path))
        splits[split] = (values["X"].transpose(3, 0, 1, 2), np.atleast_1d(values["y"]).astype(np.int64) % 10)
    return "SVHN's cropped digits", path.parent, splits, list("0123456789"), []


def _stl10(root: Path) -> Read | None:
    """STL-10's binary files: images (n, 3, 96, 96) with columns first, and labels from 1."""
    found = _candidates(root, lambda name: name == "train_X.bin")
    if not found:
        return None
    folder = found[0].parent
    splits = {}
    for split in ("train", "test"):
        try:
            pixels = np.fromfile(folder / f"{split}_X.bin", np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
            splits[split] = (pixels, np.fromfile(folder / f"{split}_y.bin", np.uint8).astype(np.int64) - 1)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}/{split}_X.bin or {split}_y.bin: not STL-10's ({error}); unpack stl10_binary.tar.gz again") from None
    names = folder / "class_names.txt"
    listed = names.read_text(encoding="utf-8").split() if names.is_file() else [str(number) for number in range(10)]
    return "STL-10's binary files", folder, splits, listed, []


def _cifar_binary(root: Path) -> Read | None:
    """The binary version of CIFAR-10: records of a label and 3,072 pixels."""
    found = _candidates(root, lambda name: name == "data_batch_1.bin")
    if not found:
        return None
    folder = found[0].parent

    def read(name: str) -> Split:
        try:
            records = np.fromfile(folder / name, np.uint8).reshape(-1, 3073)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / name}: not CIFAR-10's ({error}); unpack cifar-10-binary.tar.gz again") from None
        return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0].astype(np.int64)

    batches = [read(path.name) for path in sorted(folder.glob("data_batch_*.bin"))]
    train = (np.concatenate([pixels for pixels, _ in batches]), np.concatenate([labels for _, labels in batches]))
    names = folder / "batches.meta.txt"
    listed = names.read_text(encoding="utf-8").split() if names.is_file() else [str(number) for number in range(10)]
    return "CIFAR-10's binary version", folder, {"train": train, "test": read("test_batch.bin")}, listed, []


NPZ = {"train": (("x_train", "y_train"), ("train_images", "train_labels")), "test": (("x_test", "y_test"), ("test_images", "test_labels"))}
"""Names of arrays in NumPy archives, as Keras and MedMNIST have them."""


def _npz(root: Path) -> Read | None:
    """A NumPy archive of images and labels by split."""
    found = _candidates(root, lambda name: name.endswith(".npz"))
    if len(found) != 1:
        return None
    splits = {}
    try:
        with np.load(found[0], allow_pickle=False) as arrays:
            for split, choices in NPZ.items():
                images, labels = next((pair for pair in choices if pair[0] in arrays and pair[1] in arrays), (None, None))
                if images is None or labels is None:
                    return None
                splits[split] = (_rgb(arrays[images]), arrays[labels].squeeze())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{found[0]}: not a NumPy archive that is read ({brief(error)}); write it once more") from None
    if any(labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) for _, labels in splits.values()):
        raise UserError(f"{found[0]}: its labels are not one class for each image; write them as whole numbers (n,)")
    classes = ordered({str(label) for _, labels in splits.values() for label in np.unique(labels)})
    numbers = {int(class_): number for number, class_ in enumerate(classes)}
    splits = {split: (pixels, np.vectorize(numbers.get)(labels)) for split, (pixels, labels) in splits.items()}
    return "a NumPy archive", found[0], splits, classes, []


def _pixel_tables(root: Path) -> Read | None:
    """Tables with a label and a column for each pixel: Kaggle's Digit Recognizer, Fashion-MNIST and Sign Language MNIST as CSV.

    FER2013 has all pixels in one column, and the split in another.
    """
    tables = (
        [root] if root.is_file() else [path for path in sorted(root.iterdir()) if not path.name.startswith(".")] if root.is_dir() else []
    )
    if not tables or any(path.suffix.lower() not in (".csv", ".txt", ".md") for path in tables):
        return None
    splits: dict[str, Split] = {}
    unused = []
    for path in tables:
        with open(path, encoding="utf-8", errors="replace") as file:
            header = file.readline().strip().lower().split(",") if path.suffix.lower() == ".csv" else []
        if header == ["emotion", "pixels", "usage"]:
            splits = _read_fer2013(path)
        elif len(header) > 64 and "label" in header:
            splits["test" if split_in(path.stem) == "test" else "train"] = _read_pixels(path, header.index("label"))
        else:
            unused.append(path.name)
    if not splits:
        return None
    names = ordered({str(label) for _, labels in splits.values() for label in np.unique(labels)})
    numbers = {int(class_): number for number, class_ in enumerate(names)}
    splits = {split: (splits[split][0], np.vectorize(numbers.get)(splits[split][1])) for split in sorted(splits, reverse=True)}
    return "tables with a column for each pixel", root, splits if len(splits) == 2 else {"all": next(iter(splits.values()))}, names, unused


def _read_fer2013(path: Path) -> dict[str, Split]:
    """FER2013's training set and its private test set. Raises UserError where a row is damaged."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, ["label", "pixels", "split"]))[1:]
    splits = {}
    try:
        for split, name in (("train", "Training"), ("test", "PrivateTest")):
            chosen = [row for row in rows if row["split"] == name]
            pixels = np.array([row["pixels"].split() for row in chosen], np.uint8).reshape(-1, 48, 48)
            splits[split] = (_rgb(pixels), np.array([row["label"] for row in chosen], np.int64))
    except (ValueError, OverflowError, AttributeError) as error:
        raise UserError(f"{path}: not 48 times 48 pixels of 0 to 255 in each row ({error}); fetch it again") from None
    return splits


def _read_pixels(path: Path, label: int) -> Split:
    try:
        rows = np.loadtxt(path, np.int64, delimiter=",", skiprows=1, ndmin=2)
    except ValueError as error:
        raise UserError(f"{path}: a pixel or a label is no whole number ({brief(error)}); write the table again") from None
    pixels = np.delete(rows, label, axis=1)
    channels = 3 if math.isqrt(pixels.shape[1]) ** 2 != pixels.shape[1] else 1
    side = math.isqrt(pixels.shape[1] // channels)
    if side * side * channels != pixels.shape[1] or pixels.min() < 0 or pixels.max() > 255:
        raise UserError(f"{path}: {pixels.shape[1]:,} pixels of 0 to 255 are no square image; write the table again")
    return _rgb(pixels.astype(np.uint8).reshape(-1, side, side, channels)), rows[:, label]


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """(n, height, width, 3) uint8 of grey or RGB images. Raises ValueError for another shape or type."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"images of shape {pixels.shape} and type {pixels.dtype}, where (n, height, width[, 3]) uint8 are needed")
    return np.repeat(pixels, 3, 3) if pixels.shape[3] == 1 else pixels
