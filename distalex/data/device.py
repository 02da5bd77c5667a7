"""The device stage: images and labels of each batch copied to the GPU, while it computes; on a CPU they stay where they are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass
class Copied:
    """A batch on the device, or on its way there."""

    images: Tensor
    """(n, side, side, 3) uint8, or (n, 2, side, side, 3) of samples and their partners."""
    labels: Tensor
    """(n,) int64, or (n, 2)."""
    done: torch.cuda.Event | None = None
    """The end of the copy; None where nothing is copied."""

    def wait(self) -> None:
        """Let the device's computations from here on wait for the copy; the host does not wait."""
        if self.done is not None:
            torch.cuda.current_stream().wait_event(self.done)


def copy_to_device(reading: Generator[tuple[Tensor, Tensor], None, None], device: torch.device) -> Generator[Copied, None, None]:
    """Start copying each batch to `device`; on a GPU from pinned memory, on a stream of its own.

    The copy completes before the next batch is requested, so the reader can reuse its buffer.
    """
    with closing(reading):
        for images, labels in reading:
            if device.type != "cuda" or images.is_cuda:
                yield Copied(images, labels)
                continue
            copied = _start_copy((images, labels), device)
            assert copied.done is not None
            try:
                yield copied
            finally:
                copied.done.synchronize()


def _start_copy(tensors: Sequence[Tensor], device: torch.device) -> Copied:
    with torch.cuda.stream(_copying_stream(device)):
        on_gpu = [tensor.to(device, non_blocking=True) for tensor in tensors]
        done = torch.cuda.Event()
        done.record()
    for tensor in on_gpu:
        tensor.record_stream(torch.cuda.current_stream())
    return Copied(on_gpu[0], on_gpu[1], done)


@lru_cache(maxsize=1)
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
