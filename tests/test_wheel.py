"""The wheel holds all that distalex needs, and works from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.runs import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, without network: a build leaves folders where it runs."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("distalex", "configs"):
        shutil.copytree(REPOSITORY / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    pip("wheel", "--no-build-isolation", f"--wheel-dir={built}", str(copy))
    (path,) = built.glob("distalex-*.whl")
    return path


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_every_file_of_the_package_and_the_readme(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("distalex/")}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    files = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "distalex").rglob("*") if path.is_file()}
    files |= {f"distalex/{path.relative_to(REPOSITORY).as_posix()}" for path in (REPOSITORY / "configs").rglob("*.yaml")}
    assert {name for name in files if "__pycache__" not in name} == held
    assert (REPOSITORY / "README.md").read_text().splitlines()[2] in metadata
    assert 'Requires-Dist: ffcv>=1.0.2; sys_platform == "linux"' in metadata


def test_an_installed_wheel_trains_from_any_folder(wheel, tmp_path):
    pip("install", f"--target={tmp_path / 'site'}", str(wheel))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=elsewhere, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("-c", "import distalex; print(distalex.__file__)").startswith(str(tmp_path))
    options = ["--config=digits", "--train.max_steps=2", "--model.width=0.25", "--log.wandb=disabled", "--name=it"]
    assert "top-1" in run(str(tmp_path / "site" / "bin" / "distalex"), "train", *options)
    assert (elsewhere / "runs" / "it" / "metrics.jsonl").is_file()
