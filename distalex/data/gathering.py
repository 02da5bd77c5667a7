"""All-gather the batch among a replica's processes, each of which read a share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from distalex.data.device import Copied
from distalex.data.order import Rows
from distalex.parallel.mesh import Mesh
from distalex.parallel.traffic import Arriving


def gather(copying: Generator[Copied, None, None], rows: Sequence[Sequence[Rows]], mesh: Mesh) -> Generator[Gathering, None, None]:
    """Start gathering each batch. `rows` has, for each batch, the rows that every process of the column group reads."""
    with closing(copying):
        for rows_of_batch, copied in zip(rows, copying, strict=False):  # rows first: nothing is read beyond the last batch
            yield Gathering(copied, rows_of_batch, mesh)


class Gathering:
    """A batch on its way from all processes of a column group; with one column it is there already."""

    def __init__(self, copied: Copied, rows: Sequence[Rows], mesh: Mesh) -> None:
        """Start sending what this process has read, which is `rows[mesh.column]` of the batch."""
        self.copied, self.rows, self.mesh = copied, rows, mesh
        self.arriving: list[Arriving] = []
        if mesh.columns > 1:
            copied.wait()
            sent = [copied.labels] if mesh.spreads_images else [copied.images, copied.labels]
            self.arriving = [self._start(tensor) for tensor in sent]

    def _start(self, values: Tensor) -> Arriving:
        shapes = [(len(column.rows), *values.shape[1:]) for column in self.rows]
        return self.mesh.start_exchange([values] * self.mesh.columns, shapes, "images")

    def wait(self) -> tuple[Tensor, Tensor]:
        """Images and labels of the batch, in its order; with One Weird Trick only the images that this process has read."""
        images, labels = self.copied.images, self.copied.labels
        if self.mesh.columns == 1:
            self.copied.wait()
            return images, labels
        *gathered, all_labels = (arriving.wait() for arriving in self.arriving)
        all_labels[self.mesh.column] = labels
        if self.mesh.spreads_images:
            places = np.argsort(np.concatenate([column.rows for column in self.rows]))
            return images, torch.cat(all_labels)[torch.from_numpy(places).to(labels.device, non_blocking=True)]
        gathered[0][self.mesh.column] = images
        return torch.cat(gathered[0]), torch.cat(all_labels)
