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
    """Network's input and labels of each batch, which has the images of these `samples`.

    With `ahead` the next batch is being read, copied and gathered before this one is given out, and so while the network
    computes. A reader may overwrite what it has read when it is asked for more, so this one is transformed before that.
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
