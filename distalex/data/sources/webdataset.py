"""WebDataset's tar shards of KEY.jpg with KEY.cls, KEY.json or KEY.txt, at `data.root`."""

from distalex.config.data import DataConfig
from distalex.data.layouts.recognise import open_webdataset as open_source

CLASSES = None
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("root",)
TAKES = ()


def count_classes(config: DataConfig) -> int:
    """Number of classes, from the labels in the shards. Raises UserError as `open_source` does."""
    return len(open_source(config).sources[0].classes)
