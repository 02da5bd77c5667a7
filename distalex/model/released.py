"""Weights in the layout of the authors' released code: a matrix for each layer, column and input.

Of its two-column network (cuda-convnet2, layers/layers-imagenet-2gpu-model.cfg) `NAME.weights.I` reads the I-th input of the layer NAME,
(channels * kernel * kernel, filters) in a convolution and (inputs, outputs) in a fully connected layer, and `NAME.biases` has one number
for each filter or output.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distalex.errors import UserError
from distalex.model.networks import PAPER

LAYERS = {
    "conv1": ("conv1a", "conv1b"),
    "conv2": ("conv2a", "conv2b"),
    "conv3": ("conv3a", "conv3b"),
    "conv4": ("conv4a", "conv4b"),
    "conv5": ("conv5a", "conv5b"),
    "fc6": ("fc2048a", "fc2048b"),
    "fc7": ("fc2048ba", "fc2048bb"),
    "fc8": ("fc1000",),
}
"""Their layers by ours: one a column, but for the last, which both columns share."""
OWN_FIRST = ("fc2048bb",)
"""Layers of the second column that read it before the first one."""


def is_released(weights: Mapping[str, Tensor]) -> bool:
    return "conv1a.weights.0" in weights


def from_released(weights: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """The paper network's state dict: conv2, conv4 and conv5 in two groups, all else whole.

    Raises UserError, naming `place`, for what is missing or does not fit together.
    """
    ours: dict[str, Tensor] = {}
    for layer, names in LAYERS.items():
        try:
            rows = torch.cat([_rows(weights, name) for name in names])
            if layer in PAPER:
                rows = rows.unflatten(1, (-1, PAPER[layer].kernel, PAPER[layer].kernel))
            ours[f"{layer}.weight"] = rows.contiguous()
            ours[f"{layer}.bias"] = torch.cat([weights[f"{name}.biases"].flatten() for name in names])
        except KeyError as error:
            raise UserError(f"model.weights={place}: is in the released code's layout, but has no {error.args[0]}") from None
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"model.weights={place}: its matrices of {' and '.join(names)} do not fit together ({reason})") from None
    return ours


def _rows(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """A row for each filter or output of one of their layers: all that it reads, the first column's first."""
    inputs = [weights[f"{name}.weights.0"]]
    while f"{name}.weights.{len(inputs)}" in weights:
        inputs.append(weights[f"{name}.weights.{len(inputs)}"])
    if name in OWN_FIRST:
        inputs.reverse()
    return torch.cat(inputs).T
