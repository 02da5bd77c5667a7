"""What the tests share: real processes, real files, small real data."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import warm
from support.runs import DATA, REPOSITORY

from distalex.parallel.mesh import Mesh
from distalex.parallel.topology import Topology

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each of several workers; what they start has one too
    os.environ["OMP_NUM_THREADS"] = "1"
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: kernels for a GPU are then computed by NumPy


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
