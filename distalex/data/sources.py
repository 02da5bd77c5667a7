"""Where pictures come from: CIFAR-10, the embedded digits, class folders, synthetic ones.

A source lists its samples in one fixed, shuffled order, so that a sample has the same number whichever loader reads it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from distalex import config, random
from distalex.augment import Statistics
from distalex.errors import UserError
from distalex.topology import cores

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FOLDERS, TEST_FOLDERS = ("train",), ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class Source:
    """One split of a data set: labelled pictures by number."""

    name: str
    split: str
    classes: tuple[str, ...]
    labels: np.ndarray
    """int64, one a sample."""
    open: Callable[[int], Image.Image]
    """The picture of a sample as it is kept; may raise OSError."""
    places: Callable[[int], str]
    """Where a sample comes from, for messages."""
    side: int
    """Side in pixels of the square that `picture` gives."""
    origin: str

    def __len__(self) -> int:
        return len(self.labels)

    def picture(self, sample: int) -> np.ndarray:
        """(side, side, 3) uint8: RGB, short side scaled to `side`, central square (Section 2).

        Raises UserError, naming the file, where it is not a readable picture.
        """
        try:
            with self.open(sample) as image:
                return square(image, self.side)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.places(sample)}: not a readable picture ({reason}); mend it or take it away") from None

    @property
    def fingerprint(self) -> str:
        """Names this split's contents: another listing, order, label or size gives another."""
        digest = hashlib.blake2b(digest_size=6)
        for part in (self.name, self.split, self.side, *self.classes):
            digest.update(f"{part}\0".encode())
        digest.update(self.labels.tobytes())
        for sample in range(len(self)):
            digest.update(self.places(sample).encode())
        return digest.hexdigest()

    def select(self, samples: np.ndarray, split: str) -> Source:
        """The samples with these numbers, renumbered in their order."""
        open_, places = self.open, self.places
        return replace(
            self,
            split=split,
            labels=self.labels[samples],
            open=lambda sample: open_(int(samples[sample])),
            places=lambda sample: places(int(samples[sample])),
        )

    def shuffled(self) -> Source:
        """Sources list class by class; quasi-random and truncated readings need the classes mixed."""
        return self.select(random.permutation(random.key(0, "listing", self.split), len(self)), self.split)


def square(image: Image.Image, side: int) -> np.ndarray:
    """(side, side, 3) uint8: upright RGB, short side scaled to `side`, central square."""
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA") else "RGB")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def open_sources(options: config.Data) -> tuple[Source, Source]:
    """The training and test split of a named data set. Raises UserError where it cannot be found."""
    match options.name:
        case "cifar10":
            splits = cifar10(find_cifar10(options.root), options.side)
        case "digits":
            splits = digits(options.side)
        case "synthetic":
            splits = synthetic(options)
        case _:
            assert options.root is not None
            splits = folders(Path(options.root), options.side, options.holdout, options.name)
    return splits[0].shuffled(), splits[1].shuffled()


def data_folder() -> Path:
    """Where data sets and prepared files are kept: the environment's DISTALEX_DATA, else `data/` here."""
    return Path(os.environ.get("DISTALEX_DATA") or "data")


def find_cifar10(root: str | None) -> Path:
    """A folder of CIFAR-10, found, unpacked or downloaded. Raises UserError with how to get it."""
    places = [Path(root)] if root else list(dict.fromkeys([data_folder(), Path("data")]))
    for place in places:
        for folder in (place, place / "cifar10", place / "cifar10-jpg", place / "cifar-10-batches-py"):
            if _holds_cifar10(folder):
                return folder
        for archive in (place / "cifar10-jpg.tar.gz", place / "cifar-10-python.tar.gz"):
            if archive.is_file():
                return _unpack(archive)
    if root:
        raise UserError(
            f"data.root={root}: holds no CIFAR-10; expected train/CLASS/*.jpg and test/CLASS/*.jpg for the ten classes, "
            "or torchvision's cifar-10-batches-py"
        )
    return _download(data_folder())


def _holds_cifar10(folder: Path) -> bool:
    return (folder / "data_batch_1").is_file() or all((folder / split / CIFAR10[0]).is_dir() for split in ("train", "test"))


def _unpack(archive: Path) -> Path:
    target = Path("data")
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: cannot be unpacked into {target}/: {error}; fetch it again or free some space") from None
    for name in ("cifar10-jpg", "cifar-10-batches-py"):
        if _holds_cifar10(target / name):
            return target / name
    raise UserError(f"{archive}: holds no CIFAR-10 (neither cifar10-jpg/train/CLASS nor cifar-10-batches-py)")


def _download(target: Path) -> Path:
    from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

    try:
        TorchvisionCIFAR10(str(target), download=True)
    except Exception as error:  # the network, the disk or the server: whatever it was, the remedy is the same
        raise UserError(
            f"CIFAR-10 is not in {target}/ and cannot be downloaded ({type(error).__name__}: {error}); put cifar-10-batches-py or "
            "train/CLASS/*.jpg and test/CLASS/*.jpg somewhere and name that folder with --data.root=DIR or DISTALEX_DATA; "
            "or use --data.name=digits, which needs no network"
        ) from None
    return target / "cifar-10-batches-py"


def cifar10(root: Path, side: int) -> tuple[Source, Source]:
    """CIFAR-10 from JPEG class folders or from torchvision's pickles."""
    if (root / "data_batch_1").is_file():
        return _cifar10_pickles(root, "train", side), _cifar10_pickles(root, "test", side)
    train, test = (folder(root / split, split, side, "cifar10") for split in ("train", "test"))
    if train.classes != CIFAR10 or test.classes != CIFAR10:
        raise UserError(
            f"data.root={root}: its class folders are {', '.join(train.classes)}, not CIFAR-10's; use data.name=folder for other classes"
        )
    return train, test


class _PlainUnpickler(pickle.Unpickler):
    """Reads CIFAR-10's pickles, which hold nothing but arrays, lists and strings; refuses everything else."""

    def find_class(self, module: str, name: str) -> object:
        if name in ("_reconstruct", "ndarray", "dtype") and module.split(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 file")


def _cifar10_pickles(root: Path, split: str, side: int) -> Source:
    names = [f"data_batch_{number}" for number in range(1, 6)] if split == "train" else ["test_batch"]
    pixels, labels = [], []
    for name in names:
        try:
            with open(root / name, "rb") as file:
                batch = _PlainUnpickler(file, encoding="latin1").load()
            pixels.append(np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch["labels"], dtype=np.int64))
        except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{root / name}: not a CIFAR-10 batch ({error}); unpack cifar-10-python.tar.gz again") from None
    return _of_arrays("cifar10", split, CIFAR10, np.concatenate(pixels).transpose(0, 2, 3, 1), np.concatenate(labels), side, str(root))


def digits(side: int) -> tuple[Source, Source]:
    """scikit-learn's 1,797 scanned digits of 8x8 pixels, a fifth held out; needs no network."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[:, :, :, None], 3, axis=3)
    whole = _of_arrays("digits", "all", tuple("0123456789"), pixels, bunch.target.astype(np.int64), side, "scikit-learn's load_digits")
    return hold_out(whole, 0.2)


def synthetic(options: config.Data) -> tuple[Source, Source]:
    """Keyed noise with a tint and stripes by class, for tests and benchmarks that need no data."""

    def split(name: str, count: int) -> Source:
        labels = np.arange(count, dtype=np.int64) % options.synthetic_classes
        return Source(
            "synthetic",
            name,
            tuple(f"class{number:03d}" for number in range(options.synthetic_classes)),
            labels,
            lambda sample: Image.fromarray(_synthetic_picture(name, sample, int(labels[sample]), options)),
            lambda sample: f"synthetic {name} {sample}",
            options.side,
            "synthetic",
        )

    return split("train", options.synthetic_images), split("test", max(2, options.synthetic_images // 4))


def _synthetic_picture(split: str, sample: int, label: int, options: config.Data) -> np.ndarray:
    side = options.side
    noise = random.bits(random.key(0, "synthetic", split, sample), np.arange(side * side * 3)).reshape(side, side, 3) % 128
    tint = random.bits(random.key(0, "tint", label), np.arange(3)) % 96
    stripes = (np.arange(side) * (1 + label) * 2 // side % 2 * 32)[:, None, None]
    return (noise + tint + stripes).astype(np.uint8)


def _of_arrays(name: str, split: str, classes: tuple[str, ...], pixels: np.ndarray, labels: np.ndarray, side: int, origin: str) -> Source:
    return Source(
        name,
        split,
        classes,
        labels,
        lambda sample: Image.fromarray(pixels[sample]),
        lambda sample: f"{origin} {split} {sample}",
        side,
        origin,
    )


def folders(root: Path, side: int, holdout: float, name: str = "folder") -> tuple[Source, Source]:
    """Class folders: `root/train/CLASS` and `root/test/CLASS` (or val), or `root/CLASS` with a share held out."""
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder")
    train = next((root / split for split in TRAIN_FOLDERS if (root / split).is_dir()), None)
    test = next((root / split for split in TEST_FOLDERS if (root / split).is_dir()), None)
    if train is None or test is None:
        return hold_out(folder(train or root, "all", side, name), holdout)
    sources = folder(train, "train", side, name), folder(test, "test", side, name)
    if sources[0].classes != sources[1].classes:
        odd = sorted(set(sources[0].classes) ^ set(sources[1].classes))
        raise UserError(f"data.root={root}: {train.name}/ and {test.name}/ differ in their class folders: {', '.join(odd[:5])}")
    return sources


def folder(root: Path, split: str, side: int, name: str) -> Source:
    """One `root/CLASS/picture` tree; nested folders belong to the class above them."""
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder")
    classes = tuple(sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")))
    if len(classes) < 2:
        found = f"only {classes[0]}/" if classes else "none"
        raise UserError(f"data.root={root}: two or more class folders of pictures are needed (CLASS/*.jpg), found {found}")
    files: list[str] = []
    labels: list[int] = []
    for label, class_ in enumerate(classes):
        found_files = sorted(_pictures_below(root / class_))
        if not found_files:
            raise UserError(
                f"data.root={root}: class folder {class_}/ holds no picture ({', '.join(SUFFIXES[:4])}, …); remove it or fill it"
            )
        files += found_files
        labels += [label] * len(found_files)
    return Source(
        name,
        split,
        classes,
        np.array(labels, dtype=np.int64),
        lambda sample: Image.open(files[sample]),
        lambda sample: files[sample],
        side,
        str(root.resolve()),
    )


def _pictures_below(root: Path) -> Iterator[str]:
    for parent, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)


def hold_out(source: Source, fraction: float) -> tuple[Source, Source]:
    """Training and test part, the latter with `fraction` of every class (one at least), chosen by key."""
    order = random.permutation(random.key(0, "holdout"), len(source))
    test: list[int] = []
    for label, class_ in enumerate(source.classes):
        members = order[source.labels[order] == label]
        if len(members) < 2:
            raise UserError(f"{source.origin}: class {class_} has {len(members)} picture(s); two are needed where a test set is held out")
        test += members[: min(len(members) - 1, max(1, round(len(members) * fraction)))].tolist()
    held = np.zeros(len(source), dtype=bool)
    held[test] = True
    return source.select(np.flatnonzero(~held), "train"), source.select(np.flatnonzero(held), "test")


MEASURED = 10_000  # pictures that colour statistics are taken from


def measure(source: Source) -> Statistics:
    """Mean and covariance of the colours of (up to 10,000, keyed) pictures of a training set."""
    samples = np.sort(random.permutation(random.key(0, "statistics"), len(source))[:MEASURED])

    def moments(sample: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = source.picture(int(sample)).reshape(-1, 3).astype(np.float64)
        return pixels.sum(0), pixels.T @ pixels

    total, squares = np.zeros(3), np.zeros((3, 3))
    with ThreadPoolExecutor(cores()) as pool:
        for first, second in pool.map(moments, samples.tolist()):
            total, squares = total + first, squares + second
    count = len(samples) * source.side**2
    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    return Statistics(tuple(mean.tolist()), tuple(tuple(row) for row in covariance.tolist()))
