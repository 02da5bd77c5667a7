"""The augmentation stage: each batch cropped, augmented and mixed on the device, once it has been gathered."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

import numpy as np
from torch import Tensor

from distalex.data.gathering import Gathering

Augment = Callable[[Tensor, np.ndarray], Tensor]
"""Makes the network's input (n, 3, size, size) of stored images (n, side, side, 3) and the numbers (n,) of their samples."""


def augment(
    gathering: Generator[Gathering, None, None], samples: Iterable[np.ndarray], transform: Augment, ahead: bool
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield the network's input and the labels of each batch; `samples` has the numbers of its images.

    If `ahead`, prefetch the next batch before yielding this one. A batch is transformed before the next one is requested, since the
    reader reuses its buffer.
    """
    numbers = iter(samples)
    with closing(gathering):
        coming = next(gathering, None)
        while coming is not None:
            stored, labels = coming.wait()
            images = transform(stored, next(numbers))
            if ahead:
                coming = next(gathering, None)
                yield images, labels
            else:
                yield images, labels
                coming = next(gathering, None)
