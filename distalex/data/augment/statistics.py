"""Mean and covariance of a training set's colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Colours of a training set, on 0..255."""

    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    """3x3, of the pixels' red, green and blue."""

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(np.diag(np.array(self.covariance)), 1.0))

    @property
    def principal_components(self) -> np.ndarray:
        """3x3: each column an eigenvector times the square root of its eigenvalue (as the 2012 code scales the noise)."""
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        return vectors * np.sqrt(np.maximum(values, 0.0))
