"""The mean loss of an epoch's training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distalex.parallel.mesh import Mesh


class EpochMean:
    """Mean loss and top-1 of the images that an epoch has trained on so far, each as the network predicted it in its step.

    Steps with a loss that is not finite are left out. Sums are of fp32 numbers in fp64, so that they hardly depend on their order.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._sums = torch.zeros(3, dtype=torch.float64, device=mesh.device)  # loss, right predictions, images of this replica

    def start(self) -> None:
        """Forget the last epoch."""
        self._sums.zero_()

    def add(self, loss_sum: Tensor, correct: Tensor, images: int) -> None:
        """Count a step: the summed loss and the right predictions of this replica's `images`. Does not wait for the device."""
        counted = torch.stack([loss_sum.double(), correct.double(), torch.full_like(loss_sum, images, dtype=torch.float64)])
        self._sums += torch.where(torch.isfinite(loss_sum), counted, 0.0)

    def sums(self) -> list[float]:
        """Return summed loss, right predictions and images of all replicas. A collective, which waits for the device."""
        return self.mesh.sum(self._sums.clone()).tolist()

    def restore(self, sums: Sequence[float]) -> None:
        """Continue from what `sums` returned, on any number of replicas."""
        self._sums.copy_(torch.tensor(sums, dtype=torch.float64))
        if self.mesh.replica:
            self._sums.zero_()
