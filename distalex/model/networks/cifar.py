"""One tower for images of 32x32 pixels or more, like the authors' own for CIFAR-10: `channels`, `kernels` and `pooled` list its
convolutions, of stride 1."""

from __future__ import annotations

from distalex.config.model import ModelConfig
from distalex.model.alexnet import AlexNet, Conv
from distalex.model.network import Network

SMALLEST = 32
ONE_TOWER = True
DEFAULTS = {"columns": 1, "lrn": False, "fc6": 256, "fc7": 0}
OPTIONS = ("channels", "kernels", "pooled", "batch_norm")
OPTIONAL_LAYERS = ("fc6", "fc7")
REFUSED_INIT = ("released",)


def build(config: ModelConfig, classes: int, image_size: int) -> Network:
    """Build the network."""
    table = {}
    for number, (channels, kernel) in enumerate(zip(config.channels, config.kernels, strict=True), 1):
        reads, pool = "both" if number > 1 else "image", f"conv{number}" in config.pooled
        table[f"conv{number}"] = Conv(channels, kernel, 1, kernel // 2, reads, pool=pool, margin=1)
    return AlexNet(config, classes, image_size, table, pooled=4, dropped=("drop5", "drop6"))
