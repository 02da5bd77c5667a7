"""CIFAR-10 and CIFAR-100: finding or downloading them, and reading their pickles without running what a pickle may contain."""

from __future__ import annotations

import pickle
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distalex.data.places import data_folder
from distalex.data.source import Source, of_arrays
from distalex.errors import UserError


class Cifar(NamedTuple):
    """How one of the two CIFAR sets is stored."""

    name: str
    title: str
    folder: str
    """That the pickles lie in, as torchvision unpacks them."""
    archive: str
    train: tuple[str, ...]
    """Names of the pickles of the training images."""
    test: tuple[str, ...]
    label: str
    """Key of the labels in a pickle."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty where the pickle `meta` has them."""
    image_folders: tuple[str, ...] = ()
    """Folders of the same images as files, train/CLASS and test/CLASS, the one that is preferred first. FOLDER.tar.gz holds the same."""

    @property
    def layouts(self) -> str:
        """What a folder of the set looks like, for messages."""
        return f"torchvision's {self.folder}" + (" or of train/CLASS/*.png and test/CLASS/*.png" if self.image_folders else "")


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    label="labels",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    image_folders=("cifar10-lossless", "cifar10-jpg"),
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train=("train",),
    test=("test",),
    label="fine_labels",
)


def find_cifar(wanted: Cifar, root: str | None, unpack: bool = False, option: str = "data.root") -> Path:
    """The folder of the set, or an archive of its images as files, which is read in place unless `unpack`; found or downloaded.

    Looks at `root`, which the user gave as `option`, else in DISTALEX_DATA and in `data/`. Raises UserError, with how to get the set,
    where it is not to be had.
    """

    def opened(archive: Path) -> Path:
        in_place = bool(wanted.image_folders) and not unpack and not _holds_pickles(wanted, archive)
        return archive if in_place else _unpack(wanted, archive)

    if root and Path(root).is_file():
        return opened(Path(root))
    places = [Path(root)] if root else list(dict.fromkeys([data_folder(), Path("data")]))
    for place in places:
        for folder in (place, *(place / name for name in (wanted.name, wanted.folder, *wanted.image_folders))):
            if _holds(wanted, folder):
                return folder
        for name in (wanted.archive, *(f"{folder}.tar.gz" for folder in wanted.image_folders)):
            if (place / name).is_file():
                return opened(place / name)
    if root:
        raise UserError(f"{option}={root}: holds no {wanted.title}; name a folder of {wanted.layouts}")
    return _download(wanted, data_folder(), option)


FIRST = 20
"""Files of an archive that are looked at; one of images has tens of thousands."""


def _holds_pickles(wanted: Cifar, archive: Path) -> bool:
    """Whether a file is a tar archive with the pickles of the set; its name, or a look at its first files, tells."""
    if archive.name == wanted.archive:
        return True
    try:
        with tarfile.open(archive) as tar:
            return any(member.name.rsplit("/", 1)[-1] in (*wanted.train, *wanted.test) for member in islice(tar, FIRST) if member.isfile())
    except (OSError, tarfile.TarError, EOFError):
        return False


def _holds(wanted: Cifar, folder: Path) -> bool:
    """Whether `folder` holds the set, as pickles or as image files."""
    if is_cifar(wanted, folder):
        return True
    return bool(wanted.image_folders) and all((folder / split / name).is_dir() for split in ("train", "test") for name in wanted.classes)


def is_cifar(wanted: Cifar, folder: Path) -> bool:
    """Whether `folder` holds the pickles of the set."""
    return (folder / wanted.train[0]).is_file() and (bool(wanted.classes) or (folder / "meta").is_file())


def _unpack(wanted: Cifar, archive: Path) -> Path:
    target = Path("data") if _holds_pickles(wanted, archive) else Path("data") / archive.name.split(".")[0]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: cannot be unpacked into {target}/: {error}; fetch it again or free some space") from None
    for folder in (target, *(target / name for name in (wanted.folder, *wanted.image_folders))):
        if _holds(wanted, folder):
            return folder
    raise UserError(f"{archive}: holds no {wanted.title}; name an archive of {wanted.layouts}")


def _download(wanted: Cifar, target: Path, option: str) -> Path:
    from torchvision import datasets

    try:
        getattr(datasets, wanted.name.upper())(str(target), download=True)
    except Exception as error:  # the network, the disk or the server: whatever it was, the remedy is the same
        raise UserError(
            f"{wanted.title} is not in {target}/ and cannot be downloaded ({type(error).__name__}: {error}); name a folder of "
            f"{wanted.layouts} with --{option}=DIR or DISTALEX_DATA"
            + (", or use --data.name=digits, which needs no network" if option == "data.root" else "")
        ) from None
    return target / wanted.folder


def read_cifar(wanted: Cifar, root: Path, side: int) -> tuple[Source, Source]:
    """Training and test split of the pickles in `root`, as squares of `side` pixels. Raises UserError where they are damaged."""
    classes = wanted.classes or tuple(str(name) for name in _unpickled(wanted, root / "meta")["fine_label_names"])
    return _pickles(wanted, root, "train", classes, side), _pickles(wanted, root, "test", classes, side)


class _PlainUnpickler(pickle.Unpickler):
    """Reads CIFAR's pickles, which hold nothing but arrays, lists and strings; refuses everything else."""

    def find_class(self, module: str, name: str) -> object:
        if name in ("_reconstruct", "ndarray", "dtype") and module.split(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a CIFAR file")


def _unpickled(wanted: Cifar, path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return dict(_PlainUnpickler(file, encoding="latin1").load())
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: not a {wanted.title} batch ({error}); unpack {wanted.archive} again") from None


def _pickles(wanted: Cifar, root: Path, split: str, classes: tuple[str, ...], side: int) -> Source:
    pixels, labels = [], []
    for name in wanted.train if split == "train" else wanted.test:
        batch = _unpickled(wanted, root / name)
        try:
            pixels.append(np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch[wanted.label], dtype=np.int64))
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{root / name}: not a {wanted.title} batch ({error}); unpack {wanted.archive} again") from None
    numbers = np.concatenate(labels)
    if len(numbers) != sum(map(len, pixels)) or not len(numbers) or numbers.min() < 0 or numbers.max() >= len(classes):
        raise UserError(f"{root}: its {split} labels do not fit its images or classes; unpack {wanted.archive} again")
    return of_arrays(wanted.name, split, classes, np.concatenate(pixels).transpose(0, 2, 3, 1), numbers, side, str(root))
