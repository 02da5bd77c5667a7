"""The paper's network for images of 24x24 pixels or more: the same columns, exchange, normalisation and overlapping pooling, with the
5x5 kernels of stride 1 that the authors' own networks for CIFAR-10 have in front.

`CONVOLUTIONS` has the layers of the paper's Figure 2, narrower. Overlapping pooling has a margin of a pixel, so that its windows leave as
many pixels as windows of 2x2.
"""

from __future__ import annotations

from distalex.config.model import ModelConfig
from distalex.model.alexnet import AlexNet, convolutions_of
from distalex.model.network import Network

SMALLEST = 24
DEFAULTS = {"fc6": 512, "fc7": 512}
OPTIONS = ("pool", "exchange", "without", "width")
REFUSED_INIT = ("released",)
CONVOLUTIONS = {
    # channels, kernel, stride, padding, what it reads, whether LRN follows, whether pooling follows
    "conv1": (64, 5, 1, 2, "image", True, True),
    "conv2": (128, 5, 1, 2, "own", True, True),
    "conv3": (192, 3, 1, 1, "both", False, False),
    "conv4": (192, 3, 1, 1, "own", False, False),
    "conv5": (128, 3, 1, 1, "own", False, True),
}


def build(config: ModelConfig, classes: int, image_size: int) -> Network:
    """Build the network, with the changes that the paper compares with it where `config` asks for them."""
    table = convolutions_of(CONVOLUTIONS, config, margin=1)
    return AlexNet(config, classes, image_size, table, pooled=3, dropped=("drop6", "drop7"))
