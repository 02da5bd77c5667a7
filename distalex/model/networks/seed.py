"""The CIFAR-10 tutorial's network: torchvision's convolutions with a narrower fc7."""

from __future__ import annotations

from distalex.config.model import ModelConfig
from distalex.model.network import Network
from distalex.model.networks import torchvision

SMALLEST = 64
ONE_TOWER = True
DEFAULTS = {"columns": 1, "lrn": False, "fc7": 1024, "init": "torch"}
TORCHVISION_KEYS = True


def build(config: ModelConfig, classes: int, image_size: int) -> Network:
    """Build the network."""
    return torchvision.build(config, classes, image_size)
