"""Files that `prepare` has written: `data.train` and `data.test`."""

from pathlib import Path

from distalex.config.data import DataConfig
from distalex.data.beton.sidecar import Prepared, existing, path_of_test_split, read_description, read_prepared
from distalex.errors import UserError

CLASSES = None
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("train",)
TAKES = ("test",)
PREPARED = True  # opened by `open_prepared`, read with FFCV, and not prepared again


def open_prepared(config: DataConfig, split: str) -> Prepared:
    """The checked files of a split, `train` or `test`; without `data.test` what `prepare` wrote beside `data.train`.

    Raises UserError where a file is missing, damaged or not written by `prepare`.
    """
    assert config.train is not None  # config checks NEEDS
    train = Path(config.train)
    if split == "train":
        return read_prepared(train)
    if config.test:
        return read_prepared(Path(config.test))
    test = path_of_test_split(train)
    if not existing(test):
        raise UserError(f"data.test: none was given and {test} does not exist; name the file of test images with --data.test=FILE.beton")
    return read_prepared(test)


def count_classes(config: DataConfig) -> int:
    """Number of classes, from the description beside the training file. Raises UserError where there is none."""
    assert config.train is not None
    train = Path(config.train)
    return len(read_description(next(iter(existing(train)), train)).classes)
