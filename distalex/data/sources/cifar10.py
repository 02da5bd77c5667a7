"""CIFAR-10: pickles, folders of image files, or the archive of either, at `data.root`, `DISTALEX_DATA` or `data/`; else downloaded."""

from distalex.config.data import DataConfig
from distalex.data.found import Found
from distalex.data.layouts.cifar import CIFAR10
from distalex.data.layouts.recognise import open_cifar

CLASSES = 10
STORED_SIDE = 32
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ("root",)
HAS = (
    ("data_batch_1",),
    ("cifar-10-batches-py/data_batch_1",),
    ("cifar-10-python.tar.gz",),
    ("cifar10-lossless.tar.gz",),
    ("cifar10-jpg.tar.gz",),
    (
        "train/airplane",
        "train/automobile",
        "train/bird",
        "train/cat",
        "train/deer",
        "train/dog",
        "train/frog",
        "train/horse",
        "train/ship",
        "train/truck",
    ),
    ("cifar10-lossless/train/airplane", "cifar10-lossless/test/truck"),
    ("cifar10-jpg/train/airplane", "cifar10-jpg/test/truck"),
)


def open_source(config: DataConfig) -> Found:
    """Training and test split. Raises UserError where they cannot be found, downloaded or read, or have other classes."""
    return open_cifar(CIFAR10, config)
