"""What the tests share: real processes, real files, small real data."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import warm
from PIL import Image

from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.parallel.mesh import Mesh
from distalex.parallel.topology import Topology

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each of several workers; what they start has one too
    os.environ["OMP_NUM_THREADS"] = "1"
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: kernels for a GPU are then computed by NumPy

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DISTALEX_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

# A run of seconds: noise images, a narrow network, every random thing on.
SMALL = {
    "data.name": "synthetic",
    "data.image_size": "64",
    "data.synthetic_images": "40",
    "data.synthetic_classes": "4",
    "data.augment": "paper",
    "data.pad": "0.1",
    "model.fc6": "32",
    "model.fc7": "32",
    "train.epochs": "2",
    "train.batch_size": "16",
    "log.every": "1",
    "log.wandb": "disabled",
}


def options(**changes: str) -> list[str]:
    """Command-line options of a small run; `data__name="digits"` stands for --data.name=digits."""
    values = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [f"--{key}={value}" for key, value in values.items()]


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared files are shared by the session; torchrun's variables and W&B's never leak in."""
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path_factory.getbasetemp() / "data"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_ERROR_FILE", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.fixture(scope="session")
def warm_server() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("OMP_NUM_THREADS", "1")
        warm.start_server()


@pytest.fixture
def launch(tmp_path: Path, warm_server: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m distalex.MODULE` in `tmp_path`, or several of it under torchrun, from a warm start (warm.py)."""

    def run(module: str, *arguments: str, processes: int = 1, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        return warm.run(module, arguments, processes, tmp_path, {**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout)

    return run


@pytest.fixture
def alone() -> Mesh:
    """The mesh of one CPU process."""
    return Mesh(Topology(), torch.device("cpu"))


def metrics(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The rows of one kind of a run's metrics.jsonl."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def newest(run: Path) -> dict[str, Any]:
    """The newest checkpoint of a run, read without distalex."""
    return torch.load(max((run / "checkpoints").glob("step-*.pt")), weights_only=True)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes with images of many kinds and sizes: train/CLASS and test/CLASS."""
    root = tmp_path_factory.mktemp("photographs")
    noise = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for number, name in enumerate(("ant", "bee", "cat")):
            (root / split / name).mkdir(parents=True)
            for image in range(count):
                pixels = noise.integers(0, 80, (70 + image, 90 - image, 3), dtype=np.uint8)
                pixels[..., number] += 150
                mode, suffix = [("RGB", "jpg"), ("L", "png"), ("RGB", "JPEG"), ("RGBA", "png")][image % 4]
                Image.fromarray(pixels).convert(mode).save(root / split / name / f"{image:02d}.{suffix}")
    return root


@pytest.fixture(scope="session")
def cifar10_jpeg() -> Path:
    """An archive of all of CIFAR-10 as JPEG files, where this machine has it."""
    archive = DATA / "cifar10-jpg.tar.gz"
    if not archive.is_file():
        pytest.skip("no cifar10-jpg.tar.gz in DISTALEX_TEST_DATA")
    return archive


def write_cifar10(root: Path, images: int) -> None:
    """Noise as CIFAR-10's pickles, `images` in each of the five training batches and in the test batch."""
    noise = np.random.default_rng(0)
    root.mkdir()
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        batch = {"data": noise.integers(0, 256, (images, 3072), dtype=np.uint8), "labels": [label % 10 for label in range(images)]}
        (root / name).write_bytes(pickle.dumps(batch))


def small(**changes: str) -> Config:
    """The configuration of `options`."""
    return load_config(None, {**SMALL, "parallel": "none", **{key.replace("__", "."): value for key, value in changes.items()}})
