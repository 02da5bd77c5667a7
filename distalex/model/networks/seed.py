"""The CIFAR-10 tutorial's network: torchvision's convolutions with a narrower fc7."""

from __future__ import annotations

from distalex.model.networks.torchvision import build as build

SMALLEST = 64
ONE_TOWER = True
DEFAULTS = {"columns": 1, "lrn": False, "fc7": 1024, "init": "torch"}
TORCHVISION_KEYS = True
