"""Any of torchvision's sets with one class per image, named by `data.dataset`; downloaded where that is possible."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from distalex.config.data import DataConfig
from distalex.config.schema import nearest
from distalex.data.found import Found
from distalex.data.places import data_folder
from distalex.data.source import Source
from distalex.errors import UserError, brief

CLASSES = None
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("dataset",)
TAKES = ("root",)


def open_source(config: DataConfig) -> Found:
    """Training and test split; `val` or `valid` where torchvision has no `test`.

    Raises UserError for an unknown name, a set without one class per image, or one that can neither be found nor downloaded.
    """
    from torchvision import datasets

    kinds = {name: kind for name, kind in vars(datasets).items() if inspect.isclass(kind) and _loads_splits(kind)}
    kind = {name.lower(): kind for name, kind in kinds.items()}.get((config.dataset or "").lower())
    if kind is None:
        raise UserError(
            f"data.dataset={config.dataset}: torchvision has no such set{nearest(str(config.dataset), sorted(kinds))}; "
            f"use one of {', '.join(sorted(kinds))}"
        )
    root = config.root or str(data_folder())
    parameters = inspect.signature(kind).parameters
    extra = {"download": True} if "download" in parameters else {}
    if "train" in parameters:
        choices: list[list[dict[str, Any]]] = [[{"train": True}], [{"train": False}]]
    else:
        choices = [[{"split": "train"}], [{"split": "test"}, {"split": "val"}, {"split": "valid"}]]
    first, second = (_first_that_opens(kind, root, split, extra, config) for split in choices)
    splits = _of_torchvision(first, "train", config, root), _of_torchvision(second, "test", config, root)
    return Found(f"torchvision's {kind.__name__}", root, splits)


def _loads_splits(kind: type) -> bool:
    """Whether a class of torchvision is a data set with a training split."""
    parameters = inspect.signature(kind).parameters
    return "root" in parameters and ("train" in parameters or "split" in parameters)


def _first_that_opens(kind: Callable[..., Any], root: str, choices: list[dict[str, Any]], extra: dict[str, Any], config: DataConfig) -> Any:
    """The set opened with the first of `choices` that it takes. Raises UserError where it takes none."""
    why: Exception | None = None
    for choice in choices:
        try:
            return kind(root, **choice, **extra)
        except Exception as error:  # the network, the disk, the server, a split it does not have
            why = why or error
    raise UserError(
        f"data.dataset={config.dataset}: not found in {root}, not downloaded ({type(why).__name__}: {brief(why)}); "
        "download it on a machine with a network, and name its folder with --data.root=DIR"
    ) from None


def _of_torchvision(dataset: Any, split: str, config: DataConfig, root: str) -> Source:
    listed = next((getattr(dataset, name) for name in ("targets", "labels", "_labels") if hasattr(dataset, name)), None)
    labels = np.asarray([dataset[sample][1] for sample in range(len(dataset))] if listed is None else listed)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(dataset):
        raise UserError(f"data.dataset={config.dataset}: its targets are not classes; use a set with one class per image")
    names = [str(name) for name in getattr(dataset, "classes", [])]
    count = max(int(labels.max()) + 1, len(names))
    classes = tuple(names) if len(names) == count and len(set(names)) == count else tuple(map(str, range(count)))

    def open_sample(sample: int) -> Image.Image:
        image = dataset[sample][0]
        if not isinstance(image, Image.Image):
            raise OSError(f"not an image but {type(image).__name__}")
        return image

    name = str(config.dataset).lower()
    return Source(
        name,
        split,
        classes,
        labels.astype(np.int64),
        open=open_sample,
        places=lambda sample: f"{name} {split} {sample}",
        stamps=lambda sample: str(len(dataset)),  # torchvision does not say where its images come from
        side=config.side,
        origin=root,
    )
