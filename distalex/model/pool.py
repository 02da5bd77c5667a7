"""Max-pooling, with the paper's overlapping windows or without (Section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalex.kernels.available import has_triton, is_traced


class MaxPool(nn.MaxPool2d):
    """Windows every 2 pixels; on a GPU with a kernel of its own."""

    def __init__(self, window: int, margin: int) -> None:
        """`window`: side in pixels, 2 or 3; `margin`: pixels that windows may reach over each edge."""
        super().__init__(window, 2, margin)
        self.window, self.margin = window, margin

    def forward(self, x: Tensor) -> Tensor:
        """(images, channels, height, width), about half as high and wide."""
        if x.dtype in (torch.float32, torch.bfloat16) and not is_traced() and has_triton(x.device):
            from distalex.kernels import pool_triton

            return pool_triton.max_pool(x, self.window, self.margin)
        return super().forward(x)
