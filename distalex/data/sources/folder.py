"""Images of your own at `data.root`, recognised by content: class folders, a table, tar archives, WebDataset shards, … (docs/data.md)."""

from distalex.config.data import DataConfig
from distalex.data.found import Found
from distalex.data.layouts.recognise import count_classes as count_classes
from distalex.data.layouts.recognise import open_root

CLASSES = None
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("root",)
TAKES = ("labels", "columns")


def open_source(config: DataConfig) -> Found:
    """What lies at `data.root`. Raises UserError where `data.root` holds no layout that is recognised."""
    assert config.root is not None  # config checks NEEDS
    return open_root(config.root, config)
