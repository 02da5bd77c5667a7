"""A batch on its way from the processes of a column group."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from distalex.data import order
from distalex.parallel.mesh import Mesh
from distalex.parallel.traffic import Arriving


@lru_cache(maxsize=1)
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Gathering:
    """A batch of images and labels on its way from all processes of a column group, of which each has read `rows`."""

    def __init__(self, read: tuple[Tensor, Tensor], rows: list[order.Rows], mesh: Mesh) -> None:
        self.rows, self.mesh = rows, mesh
        self.copied: torch.cuda.Event | None = None
        self.images, self.labels = self._copy(read) if mesh.device.type == "cuda" and not read[0].is_cuda else read
        if mesh.columns > 1:
            self._require_copied()
            self.arriving = [self._start(tensor) for tensor in ([] if mesh.spreads_images else [self.images]) + [self.labels]]

    def _copy(self, read: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Onto the GPU, on a stream of its own, so that it computes meanwhile."""
        with torch.cuda.stream(_copying_stream(self.mesh.device)):
            on_gpu = [tensor.to(self.mesh.device, non_blocking=True) for tensor in read]
            self.copied = torch.cuda.Event()
            self.copied.record()
        for tensor in on_gpu:
            tensor.record_stream(torch.cuda.current_stream())
        return on_gpu

    def _require_copied(self) -> None:
        """Let what is computed from now on wait for the copies."""
        if self.copied is not None:
            torch.cuda.current_stream().wait_event(self.copied)

    def leave_reader(self) -> None:
        """Wait until the reader may overwrite what it read: a GPU copies from pinned memory when it comes to it."""
        if self.copied is not None:
            self.copied.synchronize()

    def _start(self, values: Tensor) -> Arriving:
        shapes = [(len(column.rows), *values.shape[1:]) for column in self.rows]
        return self.mesh.start_exchange([values] * self.mesh.columns, shapes, "images")

    def wait(self) -> tuple[Tensor, Tensor]:
        """Images, of this process only with One Weird Trick and else of all, and the labels of all, in the batch's order."""
        if self.mesh.columns == 1:
            self._require_copied()
            return self.images, self.labels
        *images, labels = (arriving.wait() for arriving in self.arriving)
        labels[self.mesh.column] = self.labels
        if self.mesh.spreads_images:
            places = np.argsort(np.concatenate([column.rows for column in self.rows]))
            return self.images, torch.cat(labels)[torch.from_numpy(places).to(self.labels.device, non_blocking=True)]
        images[0][self.mesh.column] = self.images
        return torch.cat(images[0]), torch.cat(labels)
