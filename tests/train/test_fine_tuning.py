"""Starting from other weights and prepared files."""

import json

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from support.runs import metrics, newest
from support.train import train

from distalex.cli.main import main


def test_fine_tuning_keeps_frozen_layers_and_renews_the_classifier(tmp_path, photographs, capsys):
    assert train(name="first") == 0
    folder = {"data__name": "folder", "data__root": str(photographs), "data__stored_size": "72", "train__epochs": "1"}
    assert train(name="tuned", model__weights="first", model__freeze="conv1,conv2", optim__layer_lr="fc8:10", **folder) == 0
    before = torch.load(tmp_path / "runs" / "first" / "checkpoints" / "best.pt", weights_only=True)
    after = newest(tmp_path / "runs" / "tuned")
    assert torch.equal(before["model"]["conv1.weight"], after["model"]["conv1.weight"])
    assert not torch.equal(before["model"]["conv3.weight"], after["model"]["conv3.weight"])
    assert after["model"]["fc8.weight"].shape == (3, 32)
    assert after["classes"] == ["ant", "bee", "cat"]
    assert "conv1.weight" not in after["optimizer"]
    said = "model.weights=first: trained with data.normalize=standard"
    assert said not in capsys.readouterr().out
    assert train(name="other", model__weights="first", data__normalize="tutorial", train__max_steps="1", **folder) == 0
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_torchvisions_weights_file_starts_a_run(tmp_path, photographs):
    torch.save(torchvision.models.alexnet().state_dict(), tmp_path / "alexnet.pth")
    folder = ["--data.name=folder", f"--data.root={photographs}", "--data.stored_size=72", "--data.image_size=64", "--train.batch_size=12"]
    start = [
        "--model.name=torchvision",
        "--model.weights=alexnet.pth",
        "--train.max_steps=1",
        "--name=it",
        "--log.wandb=disabled",
        "--log.report=false",
    ]
    assert main(["train", *folder, *start]) == 0
    assert newest(tmp_path / "runs" / "it")["model"]["fc8.weight"].shape == (3, 4096)


def test_three_files_of_the_same_weights_give_the_same_first_loss(tmp_path):
    """torchvision's, a checkpoint of PyTorch's ImageNet example, which wraps the convolutions alone, and safetensors."""
    net = torchvision.models.alexnet(num_classes=7)
    net.classifier[1], net.classifier[4], net.classifier[6] = torch.nn.Linear(9216, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 7)
    weights = net.state_dict()
    torch.save(weights, tmp_path / "alexnet.pth")
    wrapped = {name.replace("features.", "features.module."): tensor for name, tensor in weights.items()}
    torch.save({"epoch": 90, "arch": "alexnet", "state_dict": wrapped, "best_acc1": 56.5}, tmp_path / "checkpoint.pth.tar")
    save_file(weights, tmp_path / "alexnet.safetensors")
    losses = []
    for number, name in enumerate(["alexnet.pth", "checkpoint.pth.tar", "alexnet.safetensors"]):
        more = {"model__name": "torchvision", "data__normalize": "imagenet", "train__max_steps": "1"}
        assert train(name=f"run{number}", model__weights=name, **more) == 0
        losses.append(metrics(tmp_path / "runs" / f"run{number}")[0]["loss"])
    assert train(name="anew", **more) == 0
    assert losses[0] == losses[1] == losses[2] != metrics(tmp_path / "runs" / "anew")[0]["loss"]


def test_prepared_files_train_and_evaluate(tmp_path, photographs, capsys):
    assert main(["prepare", "folder", f"--root={photographs}", "--out=mine.beton", "--size=72"]) == 0
    assert "mine.beton: 36 images of 72x72 in 3 classes" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*.beton")) == ["mine.beton", "mine.test.beton"]
    assert train(name="it", data__name="beton", data__train="mine.beton") == 0
    assert metrics(tmp_path / "runs" / "it", "eval")[-1]["count"] == 12
    image = next((photographs / "test" / "cat").iterdir())
    capsys.readouterr()
    assert main(["predict", "it", str(image), "--json_lines"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    prediction = json.loads(line)
    assert set(prediction["labels"]) == {"ant", "bee", "cat"}
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-4)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    assert main(["predict", "it", "bad.jpg"]) == 2
    assert "bad.jpg: not a readable image" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["digits"], ["synthetic", "--size=64"]])
def test_prepare_without_a_place_puts_files_where_train_looks(arguments, capsys):
    assert main(["prepare", *arguments]) == 0
    assert f"--data.name={arguments[0]}" in capsys.readouterr().out
