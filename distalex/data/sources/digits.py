"""scikit-learn's digits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from distalex.data.sources.source import Source, hold_out, of_arrays


def digits(side: int) -> tuple[Source, Source]:
    """scikit-learn's 1,797 scanned digits of 8x8 pixels, a fifth held out; needs no network."""
    images, labels = _digits()
    grey = np.round(images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[:, :, :, None], 3, axis=3)
    whole = of_arrays("digits", "all", tuple("0123456789"), pixels, labels.astype(np.int64), side, "scikit-learn's load_digits")
    return hold_out(whole, 0.2)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) of 0 to 16, and labels: the file that `load_digits` reads, without the two seconds that importing that takes."""
    found = importlib.util.find_spec("sklearn")
    table = Path(str(found and found.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if table.is_file():
        numbers = np.loadtxt(table, delimiter=",")
        return numbers[:, :-1].reshape(-1, 8, 8), numbers[:, -1]
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target
