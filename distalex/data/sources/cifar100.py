"""CIFAR-100 with its 100 fine classes: pickles or their archive, at `data.root`, `DISTALEX_DATA` or `data/`; else downloaded."""

from distalex.config.data import DataConfig
from distalex.data.found import Found
from distalex.data.layouts.cifar import CIFAR100
from distalex.data.layouts.recognise import open_cifar

CLASSES = 100
STORED_SIDE = 32
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ("root",)
HAS = (("cifar-100-python/train",), ("cifar-100-python.tar.gz",))


def open_source(config: DataConfig) -> Found:
    """Training and test split. Raises UserError where they cannot be found, downloaded or read."""
    return open_cifar(CIFAR100, config)
