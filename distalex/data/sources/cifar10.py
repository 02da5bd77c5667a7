"""CIFAR-10: pickles, folders of JPEG files, or the archive of either, at `data.root`, `DISTALEX_DATA` or `data/`; else downloaded."""

from distalex.config.data import DataConfig
from distalex.data.layouts.cifar import CIFAR10
from distalex.data.layouts.recognise import open_cifar
from distalex.data.source import Source

CLASSES = 10
STORED_SIDE = 32
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ("root",)


def open_source(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split. Raises UserError where they cannot be found, downloaded or read, or have other classes."""
    return open_cifar(CIFAR10, config)
