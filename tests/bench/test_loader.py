"""`bench loader`: loaders side by side."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from distalex.bench import loader, loader_contenders, loader_files
from distalex.bench.options import LoaderOptions
from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.data.beton.files import write
from distalex.data.splits import list_sources
from distalex.errors import UserError


@pytest.mark.slow(17)
@pytest.mark.parametrize(("encoding", "contenders"), [("raw", "ffcv,reader,input,dataloader"), ("jpg", "input,dataloader")])
def test_loaders_are_measured_in_turn(encoding, contenders, tmp_path, photographs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ["--image_size=64", "--images=32", "--batch=8", "--repeats=1", "--seconds=0.1", "--precision=fp32", f"--encoding={encoding}"]
    root = photographs / "train"
    assert main(["bench", "loader", f"--root={root}", f"--contenders={contenders}", *sizes, "--out=there"]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "there").glob("loader-*.json")
    assert str(root) not in path.read_text()
    result = json.loads(path.read_text())
    assert result["command"] == (
        f"python -m distalex.bench loader --root=DIR --contenders={contenders} --encoding={encoding} --images=32 --batch=8 "
        "--image_size=64 --precision=fp32 --repeats=1 --seconds=0.1"
    )
    assert result["input"] == {"image_size": 64, "crop": 64, "margin": 0, "precision": "fp32", "batch": 8}
    images = result["images"]
    assert (images["count"], images["classes"], images["stored_size"], images["encoding"]) == (32, 3, 73, encoding)
    assert list(result["contenders"]) == contenders.split(",")
    rates = {run["contender"]: run["images_per_second"] for run in result["runs"]}
    for run in result["runs"]:
        assert run["seconds"] >= 0.1
        assert rates[run["contender"]] == pytest.approx(run["images"] / run["seconds"])
        assert result["contenders"][run["contender"]]["first_batch_seconds"]["median"] == run["first_batch_seconds"] > 0
    if encoding == "raw":
        assert result["overhead_percent"]["max"] == pytest.approx(100 * (rates["ffcv"] / rates["reader"] - 1))
    else:
        assert result["overhead_percent"] is None
    assert result["speedup"]["min"] == pytest.approx(rates["input"] / rates["dataloader"])
    assert result["failed"] == []
    with open(path.with_suffix(".png"), "rb") as image:
        assert image.read(8) == b"\x89PNG\r\n\x1a\n"
    assert f"{loader.INPUT['input']} ÷ {loader.INPUT['dataloader']}: " in printed
    assert sorted(os.listdir(tmp_path)) == ["there"]


@pytest.mark.slow(17)
def test_a_contender_that_fails_is_reported_and_the_others_are_measured(tmp_path, capsys):
    options = LoaderOptions(images=8, batch=4, repeats=1, seconds=0.1, image_size=64, out=str(tmp_path))
    result = loader.bench_loader(options.model_copy(update={"contenders": ("input", "nonsense")}))
    assert result["images"]["kind"] == "random photographs"
    assert result["images"]["median_size"] == [500, 375]
    assert list(result["contenders"]) == ["input"]
    assert [failed["contender"] for failed in result["failed"]] == ["nonsense"]
    assert "failed: 1 of 2 runs" in capsys.readouterr().out


def test_folders_with_dots_and_few_small_images_are_measured_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (73, 80, 3), np.uint8)
    for name in ("001.Albatross", "St. Bernard"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{number}.jpg")
    (tmp_path / "files").mkdir()
    _, images = loader_files.write_files(LoaderOptions(root=str(tmp_path / "own")), tmp_path / "files")
    assert (images["count"], images["classes"], images["median_size"]) == (8, 2, [80, 73])
    assert images["bytes_per_image"]["stored"] == 3 * 73 * 73


@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_an_image_that_cannot_be_read_is_named_as_the_user_knows_it(kept, photographs, tmp_path):
    root = tmp_path / "own"
    shutil.copytree(photographs / "train", root)
    broken = sorted(root.rglob("*.jpg"))[5]
    content = broken.read_bytes()
    broken.write_bytes(content[: round(kept * len(content))] or b"no")
    (tmp_path / "files").mkdir()
    with pytest.raises(UserError) as refused:
        loader_files.write_files(LoaderOptions(root=str(root), image_size=64), tmp_path / "files")
    assert str(refused.value).startswith(f"{broken}: not a")
    assert str(refused.value).endswith("; fix or remove it")


def test_rates_of_loaders_are_compared_within_a_repeat():
    rates = {"ffcv": (110.0, 200.0), "reader": (100.0, 200.0), "input": (30.0, 30.0), "dataloader": (10.0, 15.0)}
    runs = [
        {"contender": name, "repeat": repeat, "images_per_second": pair[repeat], "first_batch_seconds": 1.0}
        for name, pair in rates.items()
        for repeat in (0, 1)
    ]
    found = loader.summarize(runs)
    assert found["overhead_percent"] == pytest.approx({"median": 5.0, "min": 0.0, "max": 10.0})
    assert found["speedup"] == {"median": 2.5, "min": 2.0, "max": 3.0}
    assert loader.summarize([run for run in runs if run["contender"] == "input"])["speedup"] is None


def test_a_goal_is_reached_only_where_every_repeat_reaches_it():
    def printed(low, high):
        nothing = {"contenders": {}, "failed": [], "overhead_percent": None, "goals": {"overhead_percent": 5, "speedup": 3}}
        return loader.report({**nothing, "speedup": {"median": 4.0, "min": low, "max": high}})

    assert "goal: 3: reached" in printed(3.0, 5.0)
    assert "goal: 3: missed" in printed(1.0, 2.9)
    assert "goal: 3: undecided" in printed(2.0, 5.0)


def test_time_is_taken_after_the_first_batches_and_over_whole_rounds_of_workers():
    given = []

    def epoch(number):
        for step in range(5):
            given.append((number, step))
            yield [None] * 7, None

    measured = loader_contenders.measure_rate(loader_contenders.endless(epoch), 3, 1e-9, 0.0)
    assert measured["images"] == 12 * 7  # four rounds of three workers at least
    assert len(given) == 12 + 12  # and as many before them
    assert given[:6] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]


@pytest.mark.parametrize("stored", [73, 32])
def test_both_ways_to_the_networks_input_have_its_shape_and_scale(stored, tmp_path, monkeypatch):
    """Crops and draws differ; of one plain colour they are all the same."""
    monkeypatch.setattr(loader_files, "EPOCH", 8)
    pixels = np.full((stored, stored, 3), (200, 100, 50), dtype=np.uint8)
    for number, name in enumerate(("one", "two")):
        (tmp_path / "original" / name).mkdir(parents=True)
        for image in range(4):
            Image.fromarray(pixels).save(tmp_path / "original" / name / f"{number}{image}.png")
    mean, covariance = (100.0, 100.0, 100.0), ((400.0, 0.0, 0.0), (0.0, 400.0, 0.0), (0.0, 0.0, 400.0))
    task = loader_files.LoaderTask(8, stored, 64, 4, 1, "bf16", mean, covariance)
    (source,) = list_sources(DataConfig(name="folder", root=str(tmp_path / "original"), stored_size=stored))
    write(source, tmp_path / "images.beton", lambda *_: None)
    for contender in ("input", "dataloader"):
        images = next(iter(loader_contenders.CONTENDERS[contender](task, tmp_path)(0)))[0]
        assert images.shape == (4, 3, 64, 64)
        assert images.dtype == torch.bfloat16
        assert images[:, :, 32, 32].float().numpy() == pytest.approx(np.tile([5.0, 0.0, -2.5], (4, 1)), abs=0.03)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--root=nowhere", "root=nowhere: "),
        ("--root=.", "root=.: "),
        ("--contenders=fast", "contenders=fast"),
        ("--encoding=png", "encoding=png"),
        ("--steps=3", "--steps (command line): no such option"),
    ],
)
def test_a_mistake_with_loaders_is_one_line(typed, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "loader", typed]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error
