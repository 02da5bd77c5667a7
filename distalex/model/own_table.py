"""The table of columns of a network of one's own: what it says is checked against its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from distalex.errors import UserError
from distalex.model.batch_norm import TorchBatchNorm
from distalex.model.own_passes import Seen

READS = ("image", "own", "both")


def require_table(module: nn.Module, name: str, seen: Seen) -> tuple[int, Mapping[str, str]]:
    """Return the columns and the table `reads` of a module; 1 and an empty one where it has none.

    Raises UserError where the table does not fit the module: a layer is missing or in another order, groups do not fit, or a parameter
    belongs to no layer that can be divided.
    """
    columns, reads = getattr(module, "columns", None), getattr(module, "reads", None)
    if not isinstance(reads, Mapping) or columns is None:
        return 1, {}
    what = f"model.name={name}: "
    if not isinstance(columns, int) or columns < 1:
        raise UserError(f"{what}columns={columns!r} is no number of columns; give e.g. 2")
    for layer, how in reads.items():
        if how not in READS:
            raise UserError(f"{what}reads[{layer!r}]={how!r} must be one of {', '.join(READS)}")
        if layer not in seen.called:
            raise UserError(f"{what}reads names {layer}, and forward calls no such layer; there are {', '.join(_dividable(module))}")
        if reason := _misfit(module.get_submodule(layer), how, columns, layer == seen.classifier):
            raise UserError(f"{what}{layer} reads {how!r} of {columns} columns, and {reason}")
    order = [layer for layer in seen.called if layer in reads]
    if order != list(reads) or order[-1:] != [seen.classifier]:
        raise UserError(
            f"{what}reads lists {', '.join(reads)}, and forward calls {', '.join(order)}; list them in order, the classifier last"
        )
    _require_divided(module, reads, columns, what)
    return columns, dict(reads)


def _dividable(module: nn.Module) -> list[str]:
    return [key for key, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def _misfit(layer: nn.Module, how: str, columns: int, is_classifier: bool) -> str:
    """Say why a layer cannot read so; empty where it can."""
    if isinstance(layer, nn.Linear):
        if how != "both":
            return "a fully connected layer reads 'both'"
        if layer.out_features % columns and not is_classifier:
            return f"its {layer.out_features} outputs are no multiple of {columns}"
        return ""
    if not isinstance(layer, nn.Conv2d):
        return f"a {type(layer).__name__} cannot be divided; only nn.Conv2d and nn.Linear stand in the table"
    groups = layer.groups
    if how == "own" and groups % columns:
        return f"it has groups={groups}; give it groups={columns}"
    if how != "own" and groups != 1:
        return f"it has groups={groups}; give it groups=1, or 'own'"
    if layer.out_channels % columns or (how != "image" and layer.in_channels % columns):
        divided = [layer.out_channels] if how == "image" else [layer.in_channels, layer.out_channels]
        wrong = " and ".join(str(channels) for channels in divided if channels % columns)
        return f"{wrong} channels are no multiple of {columns}"
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        return f"padding={layer.padding!r}, padding_mode={layer.padding_mode!r} cannot be divided; give a number of zeros"
    return ""


def _require_divided(module: nn.Module, reads: Mapping[str, str], columns: int, what: str) -> None:
    """Raise UserError for a layer that is not in the table, and does not treat every channel for itself."""
    seen: dict[int, str] = {}
    for key, layer in module.named_modules():
        for parameter in layer.parameters(recurse=False):
            if (other := seen.setdefault(id(parameter), key)) != key:
                raise UserError(f"{what}{other} and {key} share a parameter, which columns cannot divide; give each its own")
        if key in reads or isinstance(layer, TorchBatchNorm):
            continue
        mixes: Any = isinstance(
            layer, nn.GroupNorm | nn.LayerNorm | nn.LocalResponseNorm | nn.CrossMapLRN2d | nn.Softmax | nn.ChannelShuffle
        )
        if mixes or any(True for _ in layer.parameters(recurse=False)) or isinstance(layer, nn.PixelShuffle | nn.Softmax2d | nn.GLU):
            kind = type(layer).__name__
            way_out = "add it there" if isinstance(layer, nn.Conv2d | nn.Linear) else "use nn.BatchNorm2d"
            raise UserError(
                f"{what}{key or 'the module itself'} ({kind}) is not in reads, and does not treat each channel for itself; {way_out}"
            )
