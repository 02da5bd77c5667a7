"""CIFAR-100 with its 100 fine classes: pickles or their archive, at `data.root`, `DISTALEX_DATA` or `data/`; else downloaded."""

from distalex.config.data import DataConfig
from distalex.data.layouts.cifar import CIFAR100
from distalex.data.layouts.recognise import open_cifar
from distalex.data.source import Source

CLASSES = 100
STORED_SIDE = 32
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ("root",)


def open_source(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split. Raises UserError where they cannot be found, downloaded or read."""
    return open_cifar(CIFAR100, config)
