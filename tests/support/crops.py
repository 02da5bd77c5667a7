"""Images and crops of them, drawn once for all tests of kernels."""

import numpy as np
import torch


def random_images(count, side):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def crop_arguments(device="cpu"):
    """Arguments of `normalised_crops`: 64 crops of 32 pixels of 40, reaching up to 4 pixels over each edge."""
    draw = np.random.default_rng(1)
    top, left, mirrored = draw.integers(-4, 13, 64), draw.integers(-4, 13, 64), draw.random(64) < 0.5
    shift = torch.from_numpy(draw.random((64, 3), dtype=np.float32) * 100)
    return random_images(64, 40).to(device), top, left, mirrored, 32, shift.to(device), torch.tensor([0.5, 1.0, 2.0], device=device)
