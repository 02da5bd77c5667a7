"""Names of layers in torchvision's AlexNet."""

from __future__ import annotations

from torch import Tensor

TORCHVISION_KEYS = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a state dict of torchvision's AlexNet to ours; return any other state dict unchanged."""
    if "features.0.weight" not in state:
        return state
    renamed = {}
    for key, value in state.items():
        layer, _, parameter = key.rpartition(".")
        renamed[f"{TORCHVISION_KEYS.get(layer, layer)}.{parameter}"] = value
    return renamed
