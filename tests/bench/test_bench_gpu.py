"""`bench gpu`, as far as a machine without one can show."""

import json

import pytest
import torch

from distalex.bench import gpu
from distalex.bench.options import GpuOptions
from distalex.cli.main import main
from distalex.errors import UserError

SMALL = ["--model.width=0.25", "--model.fc6=32", "--model.fc7=32", "--data.image_size=64", "--data.stored_size=72"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU here")
def test_a_machine_without_a_gpu_is_refused(capsys):
    assert main(["bench", "gpu"]) == 2
    assert "PyTorch sees no GPU here" in capsys.readouterr().err


def test_a_part_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise UserError("no such thing")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "make_result", lambda _, found: {"what": "gpu", **found})  # which describes the GPU
    monkeypatch.setattr(gpu, "bench_modes", fail)
    monkeypatch.setattr(gpu, "bench_lrn", lambda _: {"ratio": 2, "failed": []})
    assert main(["bench", "gpu", "--only=modes,lrn", f"--out={tmp_path}"]) == 2
    assert "bench gpu: modes failed" in capsys.readouterr().err
    (result,) = (json.loads(path.read_text()) for path in tmp_path.glob("gpu-*.json"))
    assert result["modes"]["failed"] == "no such thing"
    assert result["lrn"]["ratio"] == 2


def test_the_papers_network_is_measured_over_whole_epochs_of_repeated_photographs(photographs, monkeypatch):
    monkeypatch.setattr(gpu, "BATCHES", 6)
    monkeypatch.setattr(gpu, "EPOCHS", 2)
    monkeypatch.setattr(gpu, "run_python", lambda words, _: main(["train", *words[2:], *SMALL]))
    found = gpu.measure_network(GpuOptions(batches=(6, 12), photographs=str(photographs / "train")))
    assert found["images"] == 36
    for batch, steps in (("6", [3, 6, 9, 12]), ("12", [1, 2, 3, 4, 5, 6])):
        measured = found["batches"][batch]
        assert [row["step"] for row in measured["rows"]] == steps
        second = [1 / row["images_per_second"] for row in measured["rows"] if row["epoch"] == 2]
        assert measured["images_per_second"]["median"] == pytest.approx(len(second) / sum(second))
