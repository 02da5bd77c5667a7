"""Find this network's layers among the names of tensors that another program wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from distalex.model.torchvision_keys import TORCHVISION_KEYS

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that DDP, DataParallel, torch.compile, FSDP and activation checkpointing put between those of a network's modules."""
BLOCKS = frozenset({"features", "classifier"})
"""Modules that torchvision's networks, and those written after them, put around their layers."""
AVERAGES = frozenset({"ema", "average", "averaged", "avg", "shadow", "swa"})
"""Words in the name of a moving average of the weights."""
OF_OPTIMIZER = frozenset({"optim", "optimizer", "optimizers", "momentum", "velocity", "exp", "grad", "grads"})
"""Words in the name of an optimizer's state."""
USUAL = frozenset({"", "state_dict", "model_state_dict", "model", "net", "network", "weights", "params"})
"""Places where a checkpoint usually keeps its network."""


class Found(NamedTuple):
    """Tensors of a file below one prefix, by the names that this network would give them."""

    prefix: str
    """What stands before the names, without wrappers: `` or `state_dict.model`."""
    names: dict[str, str]
    """The name in the file, by this network's name."""
    are_torchvisions: bool
    """Whether the file has torchvision's names of layers."""

    @property
    def is_average(self) -> bool:
        """Whether the prefix names a moving average of the weights."""
        return bool(AVERAGES & set(re.split(r"[._]", self.prefix.lower())))

    @property
    def rank(self) -> int:
        """Order of preference: a moving average, a usual place, any other, an optimizer's state."""
        if OF_OPTIMIZER & set(re.split(r"[._]", self.prefix.lower())):
            return 3
        return 0 if self.is_average else 1 if self.prefix in USUAL else 2


def find_layers(names: Collection[str], own: Iterable[str], is_given: bool = False) -> list[Found]:
    """Find the tensors `own` of a network among the dotted `names` of a file.

    A name fits from its end: anything may stand before it, and wrappers anywhere in it. Returns the prefixes that have the most of
    `own`, of those the preferred kind (see `Found.rank`): several where the file holds several networks, none where it has less than
    a quarter of the names. Names of a network that `is_given` may have torchvision's blocks, and are never renamed.
    """
    wanted, counts = set(own), Counter[tuple[str, bool]]()
    for name in names:
        for torchvisions in (False,) if is_given else (False, True):
            words = _words(name, torchvisions or is_given)
            for start in range(len(words)):
                if _own_name(words[start:], torchvisions) in wanted:
                    counts[".".join(words[:start]), torchvisions] += 1
    most = max(counts.values(), default=0)
    best = [_below(*place, names, is_given) for place, count in counts.items() if count == most >= len(wanted) / 4]
    preferred = min((found.rank for found in best), default=0)
    return [found for found in best if found.rank == preferred]


def _words(name: str, torchvisions: bool) -> list[str]:
    """The parts of a dotted name without wrappers; without blocks too where layers are not numbered inside them."""
    return [word for word in name.split(".") if word not in WRAPPERS and (torchvisions or word not in BLOCKS)]


def _own_name(words: list[str], torchvisions: bool) -> str:
    """This network's name for the parts of a name; empty for torchvision's parts that name no layer of AlexNet."""
    layer, leaf = ".".join(words[:-1]), words[-1]
    if not torchvisions:
        return ".".join(words)
    return f"{TORCHVISION_KEYS[layer]}.{leaf}" if layer in TORCHVISION_KEYS else ""


def _below(prefix: str, torchvisions: bool, names: Iterable[str], is_given: bool) -> Found:
    before = prefix.split(".") if prefix else []
    found: dict[str, str] = {}
    for name in names:
        words = _words(name, torchvisions or is_given)
        if words[: len(before)] == before and (own := _own_name(words[len(before) :], torchvisions) if words[len(before) :] else ""):
            found.setdefault(own, name)
    return Found(prefix, found, torchvisions)
