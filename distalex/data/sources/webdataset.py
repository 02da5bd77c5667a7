"""WebDataset's tar shards of KEY.jpg with KEY.cls, KEY.json or KEY.txt, at `data.root`."""

from distalex.config.data import DataConfig
from distalex.data.files.open_files import open_files
from distalex.data.layouts.recognise import sources_of
from distalex.data.layouts.webdataset import webdataset
from distalex.data.source import Source

CLASSES = None
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("root",)
TAKES = ()


def open_source(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split, or all images. Raises UserError where `data.root` holds no pairs of image and label."""
    assert config.root is not None  # config checks NEEDS
    files = open_files(config.root)
    return sources_of(files, webdataset(files), config)


def count_classes(config: DataConfig) -> int:
    """Number of classes, from the labels in the shards. Raises UserError as `open_source` does."""
    return len(open_source(config)[0].classes)
