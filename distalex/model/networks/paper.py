"""The paper's network (Section 3.5): two columns, local response normalisation, overlapping pooling.

`CONVOLUTIONS` is the paper's Figure 2: what each convolution of a column reads. The fully connected layers fc6, fc7 and fc8 read both
columns. `split_into_columns` in parallel/columns.py places the columns on devices of their own.
"""

from __future__ import annotations

from distalex.config.model import ModelConfig
from distalex.model.alexnet import AlexNet, convolutions_of
from distalex.model.network import Network

SMALLEST = 64
OPTIONS = ("pool", "exchange", "without", "width")
CONVOLUTIONS = {
    # channels, kernel, stride, padding, what it reads, whether LRN follows, whether pooling follows
    "conv1": (96, 11, 4, 2, "image", True, True),
    "conv2": (256, 5, 1, 2, "own", True, True),
    "conv3": (384, 3, 1, 1, "both", False, False),
    "conv4": (384, 3, 1, 1, "own", False, False),
    "conv5": (256, 3, 1, 1, "own", False, True),
}


def build(config: ModelConfig, classes: int, image_size: int) -> Network:
    """Build the network, with the changes that the paper compares with it where `config` asks for them."""
    table = convolutions_of(CONVOLUTIONS, config)
    return AlexNet(config, classes, image_size, table, pooled=6, dropped=("drop6", "drop7"))
