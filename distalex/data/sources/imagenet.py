"""ImageNet 2012, whole or in part, in any of its layouts at `data.root`: folders, its own tar archives, or Kaggle's (docs/data.md)."""

from distalex.config.data import DataConfig
from distalex.data.layouts.recognise import count_classes as count_classes
from distalex.data.layouts.recognise import open_root
from distalex.data.source import Source

CLASSES = 1000  # unless fewer lie at data.root
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("root",)
TAKES = ("labels",)


def open_source(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split, or all images. Raises UserError where `data.root` holds no layout that is recognised."""
    assert config.root is not None  # config checks NEEDS
    return open_root(config.root, config)
