"""What the tests share: real processes, real files, small real data.

    ./launch/test.sh                     everything, two tests at a time
    ./launch/test.sh -m 'not slow'       the quick tests

Two sweeps have a short form here and a long one as a command, to run before a release and after a change of what saves or resumes:

    python -m distalex.bench faults --kills=100     an hour: kill -9, stops and signals at random moments, on every topology
    python -m distalex.bench soak --minutes=60      memory, threads, open files and disk of one long run
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import warm
from support.runs import DATA, REPOSITORY, options
from support.session import made_once, seconds, shared_folder, turn

from distalex.bench import programs
from distalex.cli.main import main
from distalex.parallel.mesh import Mesh
from distalex.parallel.topology import Topology

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each of several workers; what they start has one too
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # else each compiling process starts others, which import PyTorch
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: kernels for a GPU are then computed by NumPy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that several workers end together."""
    items.sort(key=seconds, reverse=True)  # which keeps the order of tests that take as long


@pytest.fixture(autouse=True)
def own_turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test marked `alone` has the machine for itself."""
    with turn(shared_folder(tmp_path_factory), request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared files and measurements of this machine are shared by the session; torchrun's variables and W&B's never leak in."""
    monkeypatch.setenv("DISTALEX_DATA", str(shared_folder(tmp_path_factory) / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_folder(tmp_path_factory) / "cache"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_ERROR_FILE", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PMI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.fixture(scope="session")
def warm_server() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'tests'}")
        patch.setenv("OMP_NUM_THREADS", "1")
        warm.start_server()


@pytest.fixture
def launch(tmp_path: Path, warm_server: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m distalex.MODULE` in `tmp_path`, or several of it under torchrun, from a warm start (warm.py)."""

    def run(module: str, *arguments: str, processes: int = 1, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        return warm.run(module, arguments, processes, tmp_path, {**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout)

    return run


@pytest.fixture
def start(tmp_path: Path, warm_server: None) -> Iterator[Callable[..., warm.Job]]:
    """As `launch`, in the background: start(MODULE, *WORDS, processes=1, restarts=0). The test's end kills what still runs."""
    jobs = []

    def run(module: str, *arguments: str, processes: int = 1, restarts: int = 0, **environment: str) -> warm.Job:
        jobs.append(warm.Job(module, arguments, processes, tmp_path, {**os.environ, "OMP_NUM_THREADS": "1", **environment}, restarts))
        return jobs[-1]

    yield run
    for job in jobs:
        if job.poll() is None:
            job.kill()


@pytest.fixture
def warm_programs(monkeypatch: pytest.MonkeyPatch, warm_server: None) -> None:
    """The commands that benchmarks run start warm (warm.py)."""
    monkeypatch.setattr(programs, "run_to_end", warm.run_words)


@pytest.fixture
def alone() -> Mesh:
    """The mesh of one CPU process."""
    return Mesh(Topology(), torch.device("cpu"))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes with images of many kinds and sizes: train/CLASS and test/CLASS."""
    return made_once(tmp_path_factory, "photographs", _photograph)


def _photograph(root: Path) -> None:
    noise = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for number, name in enumerate(("ant", "bee", "cat")):
            (root / split / name).mkdir(parents=True)
            for image in range(count):
                pixels = noise.integers(0, 80, (70 + image, 90 - image, 3), dtype=np.uint8)
                pixels[..., number] += 150
                mode, suffix = [("RGB", "jpg"), ("L", "png"), ("RGB", "JPEG"), ("RGBA", "png")][image % 4]
                Image.fromarray(pixels).convert(mode).save(root / split / name / f"{image:02d}.{suffix}")


@pytest.fixture(scope="session")
def photographed_run(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    """A run of one step on `photographs`, for tests that read a run; one that writes takes a copy (`copy_run`)."""

    def train(folder: Path) -> None:
        data = {"data__name": "folder", "data__root": str(photographs), "data__stored_size": "72"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISTALEX_DATA", str(shared_folder(tmp_path_factory) / "data"))
            assert main(["train", *options(name="RUN", runs_dir=str(folder), train__max_steps="1", **data)]) == 0

    return made_once(tmp_path_factory, "photographed", train) / "RUN"


@pytest.fixture(scope="session")
def cifar10_jpeg() -> Path:
    """An archive of all of CIFAR-10 as JPEG files, where this machine has it."""
    archive = DATA / "cifar10-jpg.tar.gz"
    if not archive.is_file():
        pytest.skip("no cifar10-jpg.tar.gz in DISTALEX_TEST_DATA")
    return archive
