"""`bench loader`: loaders side by side."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from distalex.bench import files, loader, side
from distalex.bench.options import BenchOptions
from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.data.beton.files import write
from distalex.data.splits import list_sources


@pytest.mark.slow(17)
def test_loaders_are_measured_side_by_side(tmp_path, photographs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sides = "ffcv_raw,distalex_raw,input_jpg,dataloader_original,dataloader_stored"
    sizes = ["--image_size=64", "--images=32", "--batch=8", "--repeats=1", "--seconds=0.1", "--precision=fp32"]
    root = photographs / "train"
    assert main(["bench", "loader", f"--root={root}", f"--sides={sides}", *sizes, "--out=there"]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "there").glob("loader-*.json")
    assert str(root) not in path.read_text()
    result = json.loads(path.read_text())
    assert result["command"] == (
        "python -m distalex.bench loader --root=DIR --images=32 --batch=8 --image_size=64 --precision=fp32 --repeats=1 --seconds=0.1 "
        f"--sides={sides}"
    )
    assert result["input"] == {"image_size": 64, "window": 64, "margin": 0, "precision": "fp32", "batch": 8}
    assert (result["images"]["count"], result["images"]["classes"], result["images"]["stored_size"]) == (32, 3, 73)
    assert list(result["sides"]) == sides.split(",")
    rates = {run["side"]: run["images_per_second"] for run in result["runs"]}
    for run in result["runs"]:
        assert run["seconds"] >= 0.1
        assert rates[run["side"]] == pytest.approx(run["images"] / run["seconds"])
        assert result["sides"][run["side"]]["first_batch_seconds"]["median"] == run["first_batch_seconds"] > 0
    assert result["overhead_percent"]["raw"]["max"] == pytest.approx(100 * (rates["ffcv_raw"] / rates["distalex_raw"] - 1))
    assert result["ratios"]["input_jpg"]["dataloader_stored"]["min"] == pytest.approx(rates["input_jpg"] / rates["dataloader_stored"])
    assert result["failed"] == []
    with open(path.with_suffix(".png"), "rb") as image:
        assert image.read(8) == b"\x89PNG\r\n\x1a\n"
    assert "distalex, JPEG ÷ DataLoader, stored-size JPEG files: " in printed
    assert sorted(os.listdir(tmp_path)) == ["there"]


@pytest.mark.slow
def test_loaders_are_measured_without_images_webdataset_or_luck(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("distalex.bench.loader.find_spec", lambda _: None)
    monkeypatch.setitem(loader.INPUT, "nonsense", "what fails")
    options = BenchOptions(what="loader", sides=("input_raw", "webdataset"), images=8, batch=4, repeats=1, seconds=0.1, image_size=64)
    options = options.model_copy(update={"sides": (*options.sides, "nonsense"), "out": str(tmp_path)})
    result = loader.bench_loader(options)
    assert result["images"]["kind"] == "random photographs"
    assert result["images"]["median_size"] == [500, 375]
    assert result["not_installed"] == ["webdataset"]
    assert result["machine"]["versions"]["webdataset"] == "not installed"
    assert list(result["sides"]) == ["input_raw"]
    assert [failed["side"] for failed in result["failed"]] == ["nonsense"]
    printed = capsys.readouterr().out
    assert "not installed" in printed
    assert "failed: 1 of 2 runs" in printed


def test_rates_of_loaders_are_compared_within_a_repeat():
    rates = {"ffcv_raw": (110.0, 200.0), "distalex_raw": (100.0, 200.0), "input_jpg": (30.0, 30.0), "dataloader_original": (10.0, 15.0)}
    runs = [
        {"side": side, "repeat": repeat, "images_per_second": pair[repeat], "first_batch_seconds": 1.0}
        for side, pair in rates.items()
        for repeat in (0, 1)
    ]
    found = loader.summary(runs)
    assert found["overhead_percent"]["raw"] == pytest.approx({"median": 5.0, "min": 0.0, "max": 10.0})
    assert found["ratios"] == {"input_raw": {}, "input_jpg": {"dataloader_original": {"median": 2.5, "min": 2.0, "max": 3.0}}}


def test_a_goal_is_reached_only_where_every_repeat_reaches_it():
    def said(low, high):
        ratio = {"input_jpg": {"dataloader_stored": {"median": 4.0, "min": low, "max": high}}}
        nothing = {"sides": {}, "not_installed": [], "failed": [], "overhead_percent": {}, "goals": loader.GOALS}
        return loader.report({**nothing, "ratios": ratio})

    assert "goal: 3: reached" in said(3.0, 5.0)
    assert "goal: 3: missed" in said(1.0, 2.9)
    assert "goal: 3: undecided" in said(2.0, 5.0)


def test_time_is_taken_after_the_first_batches_and_over_whole_rounds_of_workers():
    given = []

    def epoch(number):
        for step in range(5):
            given.append((number, step))
            yield [None] * 7, None

    measured = side.measure(side.endless(epoch), 3, 1e-9, 0.0)
    assert measured["images"] == 12 * 7  # four rounds of three workers at least
    assert len(given) == 12 + 12  # and as many before them
    assert given[:6] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]


@pytest.mark.parametrize("stored", [73, 32])
def test_both_ways_to_the_networks_input_have_its_shape_and_scale(stored, tmp_path, monkeypatch):
    """Windows and draws differ; of one plain colour they are all the same."""
    monkeypatch.setattr(files, "EPOCH", 8)
    pixels = np.full((stored, stored, 3), (200, 100, 50), dtype=np.uint8)
    for number, name in enumerate(("one", "two")):
        (tmp_path / "original" / name).mkdir(parents=True)
        for image in range(4):
            Image.fromarray(pixels).save(tmp_path / "original" / name / f"{number}{image}.png")
    mean, covariance = (100.0, 100.0, 100.0), ((400.0, 0.0, 0.0), (0.0, 400.0, 0.0), (0.0, 0.0, 400.0))
    setup = files.Setup(8, stored, 64, 4, 1, "bf16", mean, covariance)
    (source,) = list_sources(DataConfig(name="folder", root=str(tmp_path / "original"), stored_size=stored))
    write(source, tmp_path / "raw.beton", lambda *_: None)
    for prepared in (side.input_raw(setup, tmp_path), side.dataloader_original(setup, tmp_path)):
        images = next(iter(prepared(0)))[0]
        assert images.shape == (4, 3, 64, 64)
        assert images.dtype == torch.bfloat16
        assert images[:, :, 32, 32].float().numpy() == pytest.approx(np.tile([5.0, 0.0, -2.5], (4, 1)), abs=0.03)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--root=nowhere", "root=nowhere: no folder of class folders"),
        ("--root=.", "root=.: images of two classes at least are needed"),
        ("--sides=fast", "sides=fast"),
        ("--steps=3", "steps goes with `bench plain`, `bench accuracy`, `bench parallel`, not with `bench loader`"),
    ],
)
def test_a_mistake_with_loaders_is_one_line(typed, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "loader", typed]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error
