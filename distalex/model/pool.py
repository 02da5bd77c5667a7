"""Max-pooling with overlapping or plain windows (Section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalex.kernels.available import has_triton, is_traced


class MaxPool(nn.MaxPool2d):
    """Max-pooling with stride 2; on a GPU a Triton kernel.

    Args:
        window: side of the windows in pixels, 2 or 3.
        margin: padding in pixels.
    """

    def __init__(self, window: int, margin: int) -> None:
        super().__init__(window, 2, margin)
        self.window, self.margin = window, margin

    def forward(self, x: Tensor) -> Tensor:
        """Pool `x` (images, channels, height, width) to about half its height and width."""
        if x.dtype in (torch.float32, torch.bfloat16) and not is_traced() and has_triton(x.device):
            from distalex.kernels import pool_triton

            return pool_triton.max_pool(x, self.window, self.margin)
        return super().forward(x)
