"""The paper's ten crops against a plain loop over them, without distalex's data, augmentation and evaluation."""

import json
import shutil

import numpy as np
import pytest
import torch
from support.data import opened
from support.runs import metrics, newest, options, small
from torch.nn import functional

from distalex.cli.main import main
from distalex.evaluate.evaluation import likeliest, places_of
from distalex.model.initial_weights import build_model


@pytest.mark.slow
def test_ten_crops_are_the_mean_of_ten_soft_max_outputs_on_any_topology(launch, tmp_path, monkeypatch, alone):
    """11 images in batches of 4. Noise fills the windows of 64 pixels of 64, over a margin of a tenth."""
    monkeypatch.chdir(tmp_path)
    changes = {"data__synthetic_images": "44", "train__epochs": "1", "train__mirror_test": "true", "optim__lr": "0.1"}
    assert main(["train", *options(name="it", **changes)]) == 0
    data = opened(small(**changes), alone)
    ((images, labels),) = [(images.clone(), labels.clone()) for images, labels in data.test.reader.read([np.arange(11)])]
    net = build_model(small().model, 4, 64, 0).eval()
    net.load_state_dict(newest(tmp_path / "runs" / "it")["model"])
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (data.statistics.mean, data.statistics.std))
    padded = functional.pad(images.permute(0, 3, 1, 2).float(), [6] * 4)
    total = torch.zeros(11, 4)
    with torch.no_grad():
        for top, left in ((0, 0), (0, 12), (12, 0), (12, 12), (6, 6)):
            view = (padded[:, :, top : top + 64, left : left + 64] - mean) / std
            total += net(view).softmax(1) + net(view.flip(3)).softmax(1)
    mean_output = total / 10
    loss = -mean_output[torch.arange(11), labels].log().mean().item()
    top1 = 100 * (mean_output.argmax(1) == labels).double().mean().item()
    for parallel in ("none", "data", "owt"):
        typed = ["it", "--ten_crop", "--batch_size=4", f"--parallel={parallel}"]
        if parallel == "none":
            assert main(["evaluate", *typed]) == 0
        else:
            done = launch("evaluate", *typed, processes=2)
            assert done.returncode == 0, done.stderr
            assert "(11 images, ten crops each)" in done.stdout
        report = json.loads((tmp_path / "runs" / "it" / "evaluation.json").read_text())
        assert report["loss"] == pytest.approx(loss, abs=1e-5), parallel  # fp32 sums in another order
        assert report["top1"] == pytest.approx(top1), parallel
        assert (report["top5"], report["count"], report["crops"]) == (100.0, 11, "ten")


def test_equal_logits_are_ordered_by_class_everywhere():
    """bf16 has many; top-1, confusion and predictions agree, and a label beside NaN is never right."""
    logits = torch.randint(-2, 3, (500, 7), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.arange(500) % 7
    likely, places = likeliest(logits, 7), places_of(logits, labels)
    assert torch.equal(likely[:, 0], logits.argmax(1))
    assert torch.equal(likely.gather(1, places[:, None])[:, 0], labels)
    logits[:, 3] = float("nan")
    assert (places_of(logits, torch.full((500,), 3)) == 7).all()


def test_an_evaluation_normalises_by_the_checkpoints_statistics(tmp_path, monkeypatch, photographs):
    """Other training images beside the same test images, as on a machine that has the test set alone."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photographs, tmp_path / "here")
    shutil.copytree(photographs / "test", tmp_path / "there" / "test")
    shutil.copytree(photographs / "test", tmp_path / "there" / "train")
    data = {"data__name": "folder", "data__root": str(tmp_path / "here"), "data__stored_size": "72"}
    assert main(["train", *options(name="it", train__epochs="1", **data)]) == 0
    found = []
    for place in ("here", "there"):
        assert main(["evaluate", "it", f"--data_root={tmp_path / place}"]) == 0
        found.append(json.loads((tmp_path / "runs" / "it" / "evaluation.json").read_text())["loss"])
    assert found[0] == found[1] == metrics(tmp_path / "runs" / "it", "eval")[-1]["loss"]


def test_an_evaluation_reports_that_the_test_images_have_changed(tmp_path, monkeypatch, photographs, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photographs, tmp_path / "data")
    data = {"data__name": "folder", "data__root": str(tmp_path / "data"), "data__stored_size": "72"}
    assert main(["train", *options(name="it", train__max_steps="1", **data)]) == 0
    next((tmp_path / "data" / "test" / "cat").iterdir()).unlink()
    assert main(["evaluate", "it"]) == 0
    assert "the data has changed since the checkpoint: test has 3 images of cat, and had 4" in capsys.readouterr().out


def test_an_evaluation_says_how_many_crops_it_took(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", train__max_steps="1")]) == 0
    for typed, crops, said in ((["--ten_crop=false"], "centre", " images)"), (["--ten_crop"], "ten", "images, ten crops each)")):
        assert main(["evaluate", "it", *typed]) == 0
        assert said in capsys.readouterr().out
        assert json.loads((tmp_path / "runs" / "it" / "evaluation.json").read_text())["crops"] == crops


def test_training_images_are_evaluated_beside_the_test_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", train__epochs="1")]) == 0
    assert main(["evaluate", "it"]) == main(["evaluate", "it", "--split=train"]) == 0
    assert f"on the {small().data.synthetic_images} training images" in capsys.readouterr().out
    counts = [json.loads((tmp_path / "runs" / "it" / name).read_text())["count"] for name in ("evaluation.json", "evaluation-train.json")]
    assert counts == [metrics(tmp_path / "runs" / "it", "eval")[-1]["count"], small().data.synthetic_images]


def test_an_evaluation_that_cannot_be_written_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", train__epochs="1")]) == 0
    (tmp_path / "runs" / "it" / "evaluation.json").mkdir()
    assert main(["evaluate", "it"]) == 2
    printed = capsys.readouterr()
    assert "actual (rows) against predicted (columns)" in printed.out
    assert "evaluation.json: cannot be written (Is a directory); the result is printed above" in printed.err
