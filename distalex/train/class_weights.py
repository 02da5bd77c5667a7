"""The weight of each class in the training loss (`train.class_weights`)."""

from __future__ import annotations

import torch
from torch import Tensor

from distalex.config.schema import nearest
from distalex.config.train import TrainConfig
from distalex.data.open import Data
from distalex.errors import UserError


def class_weights(config: TrainConfig, data: Data, device: torch.device) -> Tensor | None:
    """Return the weight (classes,) fp32 of each class, on `device`; None where all weigh the same.

    Raises UserError for a class that the data do not have, and for `balanced` where one has no training images.
    """
    given, classes = config.class_weights, data.classes
    if given == "none":
        return None
    if isinstance(given, dict):
        for name in given:
            if name not in classes:
                raise UserError(
                    f"train.class_weights={name}:{given[name]:g}: no such class{nearest(name, list(classes))}; {_some(classes)}"
                )
        return torch.tensor([given.get(name, 1.0) for name in classes], device=device)
    counts = data.contents["train"].counts
    if 0 in counts:
        raise UserError(
            f"train.class_weights=balanced: class {classes[counts.index(0)]} has no training images; add some, or give weights by name"
        )
    return torch.tensor([sum(counts) / (len(counts) * count) for count in counts], device=device)


def describe_weights_of(weights: Tensor, classes: tuple[str, ...]) -> str:
    """Format weights (classes,) as a line for people, with the heaviest classes first."""
    order = weights.argsort(descending=True, stable=True).tolist()
    named = [f"{classes[number]} {weights[number]:.3g}" for number in order]
    shown = named if len(named) <= 6 else [*named[:3], "…", *named[-2:]]
    return f"training loss weighted by class (evaluation is not): {', '.join(shown)}"


def _some(classes: tuple[str, ...]) -> str:
    return f"there are {', '.join(classes[:6])}{', …' * (len(classes) > 6)}"
