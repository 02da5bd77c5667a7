"""The networks as tables of convolutions."""

from __future__ import annotations

from typing import NamedTuple

from distalex.config.model import ModelConfig


class Conv(NamedTuple):
    """One convolution, its row of the paper's Figure 2 and what follows it besides the ReLU."""

    channels: int
    kernel: int
    stride: int
    padding: int
    reads: str
    """`image`, `own` (its column's output of the layer before) or `both` (every column's)."""
    lrn: bool = False
    pool: bool = False
    margin: int = 0
    """Pixels that pooling's windows may reach over each edge."""
    window: int = 3
    """Side in pixels of pooling's windows, which come every 2 pixels."""


PAPER = {
    "conv1": Conv(96, 11, 4, 2, "image", lrn=True, pool=True),
    "conv2": Conv(256, 5, 1, 2, "own", lrn=True, pool=True),
    "conv3": Conv(384, 3, 1, 1, "both"),
    "conv4": Conv(384, 3, 1, 1, "own"),
    "conv5": Conv(256, 3, 1, 1, "own", pool=True),
}
ONE_TOWER = {
    "conv1": Conv(64, 11, 4, 2, "image", pool=True),
    "conv2": Conv(192, 5, 1, 2, "own", pool=True),
    "conv3": Conv(384, 3, 1, 1, "both"),
    "conv4": Conv(256, 3, 1, 1, "own"),
    "conv5": Conv(256, 3, 1, 1, "own", pool=True),
}


def convolutions(config: ModelConfig) -> dict[str, Conv]:
    """The network that `config` names, as a table."""
    match config.name:
        case "paper":
            window = 3 if config.pool == "overlapping" else 2
            return {
                name: conv._replace(
                    channels=round(conv.channels * config.width),
                    reads=conv.reads if conv.reads == "image" else "both" if name in config.exchange else "own",
                    window=window,
                )
                for name, conv in PAPER.items()
                if name not in config.without
            }
        case "seed" | "torchvision":
            return ONE_TOWER
        case "cifar":
            table = {}
            for number, (channels, kernel) in enumerate(zip(config.channels, config.kernels, strict=True), 1):
                reads = "both" if number > 1 else "image"
                table[f"conv{number}"] = Conv(channels, kernel, 1, kernel // 2, reads, pool=f"conv{number}" in config.pooled, margin=1)
            return table
