"""Weights in the layout of the authors' released code: a matrix for each layer, column and input.

The two-column network is layers/layers-imagenet-2gpu-model.cfg of cuda-convnet2. `NAME.weights.I` holds the weights of layer NAME for its
I-th input: (channels * kernel * kernel, filters) for a convolution, (inputs, outputs) for a fully connected layer. `NAME.biases` holds
one number for each filter or output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from distalex.errors import UserError, brief
from distalex.model.alexnet import Conv
from distalex.model.networks.paper import CONVOLUTIONS

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
"""The released layers by ours: one for each column, and for fc8 one that both columns share."""
OWN_FIRST = ("fc2048bb",)
"""Layers of the second column that list their inputs from it before those from the first."""


def released_prefix(names: Iterable[str]) -> str | None:
    """Return what stands before the released code's names of tensors among `names`; None where there are none."""
    first = "conv1a.weights.0"
    return next((name.removesuffix(first) for name in names if f".{name}".endswith(f".{first}")), None)


def from_released(weights: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """Convert released weights to a state dict of the paper network: conv2, conv4 and conv5 have two groups, the other layers one.

    Raises:
        UserError: a matrix is missing, or the matrices of a layer do not fit together; names `place`.
    """
    ours: dict[str, Tensor] = {}
    for layer, names in LAYERS.items():
        try:
            rows = torch.cat([_rows(weights, name) for name in names])
            if layer in CONVOLUTIONS:
                kernel = Conv(*CONVOLUTIONS[layer]).kernel
                rows = rows.unflatten(1, (-1, kernel, kernel))
            ours[f"{layer}.weight"] = rows.contiguous()
            ours[f"{layer}.bias"] = torch.cat([weights[f"{name}.biases"].flatten() for name in names])
        except KeyError as error:
            raise UserError(f"model.weights={place}: is in the released code's layout, but lacks {error.args[0]}") from None
        except RuntimeError as error:
            reason = brief(error)
            raise UserError(f"model.weights={place}: its matrices of {' and '.join(names)} do not fit together ({reason})") from None
    return ours


def _rows(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Return (filters or outputs, inputs) of one released layer, the first column's inputs first."""
    inputs = [weights[f"{name}.weights.0"]]
    while f"{name}.weights.{len(inputs)}" in weights:
        inputs.append(weights[f"{name}.weights.{len(inputs)}"])
    if name in OWN_FIRST:
        inputs.reverse()
    return torch.cat(inputs).T
