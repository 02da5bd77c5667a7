"""The images that a config names, by split: opened from their source, held out, and put into their one shuffled order."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distalex.config.choices import facts_in
from distalex.config.data import DataConfig, name_at
from distalex.data.found import Found
from distalex.data.source import Source, a_share_of, hold_out
from distalex.errors import UserError


def open_sources(config: DataConfig, say: Callable[[str], None] = lambda _: None) -> tuple[Source, Source]:
    """Return the training and test images; split off a held-out set if configured. What was recognised is printed with `say`.

    Raises UserError where they cannot be found or understood.
    """
    found = find(config)
    say(found.describe())
    train, *test = found.sources
    if not test:
        train, *test = hold_out(train, config.holdout)
    if config.validation:
        train, *test = hold_out(train, config.validation)
    if config.fraction < 1:
        train = a_share_of(train, config.fraction)
    return train.shuffled(), test[0].shuffled()


def list_sources(config: DataConfig) -> tuple[Source, ...]:
    """Training and test split, or all images where there is no test set, in the order in which their source lists them.

    Raises UserError where they cannot be found or understood.
    """
    return find(config).sources


def find(config: DataConfig) -> Found:
    """Recognise and open the images that `config` names. Raises UserError where they cannot be found, read or understood."""
    facts = facts_in("data/sources", config.name)
    if config.root is not None and "root" not in (*facts["NEEDS"], *facts["TAKES"]):
        raise UserError(
            f"data.root={config.root}: data.name={config.name} reads no folder; remove it, or use data.name={name_at(config.root)} for "
            "what lies there"
        )
    try:
        found: Found = source_module(config.name).open_source(config)
    except PermissionError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); make it readable (chmod -R u+rX), or name another") from None
    return replace(found, sources=tuple(replace(source, resize=config.resize) for source in found.sources))


def classes_of(config: DataConfig) -> int | None:
    """Number of classes of the images that `config` names; None where that is not known before they are there.

    A file's description or the names in a folder are read where the number depends on them; nothing is downloaded or decoded.
    Raises UserError where what lies at `data.root` is not understood.
    """
    try:
        counted: int | None = getattr(source_module(config.name), "count_classes", lambda _: None)(config)
    except (UserError, OSError):
        if config.root and os.path.exists(config.root):
            raise
        counted = None
    return counted or facts_in("data/sources", config.name)["CLASSES"]


def source_module(name: str) -> Any:
    """The module of `data/sources/` that `data.name` stands for."""
    return importlib.import_module(f"distalex.data.sources.{name}")
