"""CIFAR-10: pickles, folders of JPEG files, or the archive of either, at `data.root`, `DISTALEX_DATA` or `data/`; else downloaded."""

from distalex.config.data import DataConfig
from distalex.data.layouts.cifar import CIFAR10, CIFAR10_CLASSES, find_cifar, is_cifar, read_cifar
from distalex.data.layouts.recognise import open_root
from distalex.data.source import Source
from distalex.errors import UserError

CLASSES = 10
STORED_SIDE = 32
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ("root",)


def open_source(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split. Raises UserError where they cannot be found, downloaded or read, or have other classes."""
    root = find_cifar(CIFAR10, config.root)
    if is_cifar(CIFAR10, root):
        return read_cifar(CIFAR10, root, config.side)
    sources = open_root(str(root), config)
    if sources[0].classes != CIFAR10_CLASSES or len(sources) != 2:
        raise UserError(
            f"data.root={root}: its class folders are {', '.join(sources[0].classes[:12])}, not CIFAR-10's; "
            "use data.name=folder for other classes"
        )
    return sources
