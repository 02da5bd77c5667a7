"""torchvision's AlexNet, one tower without normalisation (Krizhevsky 2014); it loads torchvision's weights file."""

from __future__ import annotations

from distalex.config.model import ModelConfig
from distalex.model.alexnet import AlexNet, Conv
from distalex.model.network import Network

SMALLEST = 64
ONE_TOWER = True
DEFAULTS = {"columns": 1, "lrn": False}
TORCHVISION_KEYS = True
CONVOLUTIONS = {
    # channels, kernel, stride, padding, what it reads, whether LRN follows, whether pooling follows
    "conv1": (64, 11, 4, 2, "image", False, True),
    "conv2": (192, 5, 1, 2, "both", False, True),
    "conv3": (384, 3, 1, 1, "both", False, False),
    "conv4": (256, 3, 1, 1, "both", False, False),
    "conv5": (256, 3, 1, 1, "both", False, True),
}


def build(config: ModelConfig, classes: int, image_size: int) -> Network:
    """Build the network."""
    table = {name: Conv(*row) for name, row in CONVOLUTIONS.items()}
    return AlexNet(config, classes, image_size, table, pooled=6, dropped=("drop5", "drop6"))
