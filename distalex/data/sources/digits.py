"""scikit-learn's 1,797 scanned digits of 8x8 pixels, a fifth of them for testing; needs no network."""

from importlib.metadata import distribution

import numpy as np

from distalex.config.data import DataConfig
from distalex.data.found import Found
from distalex.data.source import hold_out, of_arrays

CLASSES = 10
STORED_SIDE = 8
PHOTOGRAPHS = False
NEEDS = ()
TAKES = ()


def open_source(config: DataConfig) -> Found:
    """Training and test split, read from scikit-learn's own table: importing scikit-learn would take over a second."""
    table = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    numbers = np.loadtxt(str(table), delimiter=",")  # 64 pixels on 0..16 and the label, in each row
    grey = np.round(numbers[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = numbers[:, -1].astype(np.int64)
    classes = tuple("0123456789")
    place = "scikit-learn's load_digits"
    whole = of_arrays("digits", "all", classes, np.repeat(grey, 3, axis=3), labels, config.side, place)
    return Found("scanned digits", place, hold_out(whole, 0.2))
