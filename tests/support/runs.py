"""Small runs that tests share: their options, what they left, and where this repository lies."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distalex.config.config import Config
from distalex.config.loading import load_config

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("DISTALEX_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

# A run of a second: noise images, a quarter of the paper's channels, every random thing on.
SMALL = {
    "data.name": "synthetic",
    "data.image_size": "64",
    "data.synthetic_images": "40",
    "data.synthetic_classes": "4",
    "data.augment": "paper",
    "data.pad": "0.1",
    "model.width": "0.25",
    "model.fc6": "32",
    "model.fc7": "32",
    "train.epochs": "2",
    "train.batch_size": "16",
    "train.threads": "1",
    "log.every": "1",
    "log.wandb": "disabled",
    "log.report": "false",
}


def small_values(changes: dict[str, str]) -> dict[str, str]:
    """SMALL with `changes`; `data__name="digits"` stands for data.name=digits. Only the paper's network has a width."""
    values = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
    if values.get("model.name", "paper") != "paper":
        del values["model.width"]
    return values


def options(**changes: str) -> list[str]:
    """Command-line options of a small run."""
    return [f"--{key}={value}" for key, value in small_values(changes).items()]


def copy_run(run: Path, to: Path) -> Path:
    """A copy of a shared run, for a test that adds to it or changes it."""
    return Path(shutil.copytree(run, to))


def metrics(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The rows of one kind of a run's metrics.jsonl."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def newest(run: Path) -> dict[str, Any]:
    """The newest checkpoint of a run, read without distalex."""
    return torch.load(max((run / "checkpoints").glob("step-*.pt")), weights_only=True)


def write_cifar10(root: Path, images: int) -> None:
    """Noise as CIFAR-10's pickles, `images` in each of the five training batches and in the test batch."""
    noise = np.random.default_rng(0)
    root.mkdir()
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        batch = {"data": noise.integers(0, 256, (images, 3072), dtype=np.uint8), "labels": [label % 10 for label in range(images)]}
        (root / name).write_bytes(pickle.dumps(batch))


def small(**changes: str) -> Config:
    """The config of `options`, on one process."""
    return load_config(None, {"parallel": "none", **small_values(changes)})
