"""A network that was exported gives the logits that it gave."""

import numpy as np
import pytest
import torch
import torchvision
from conftest import newest, options

from distalex import cli
from distalex.evaluate import load_trained
from distalex.export import FromColours
from distalex.predict import predict


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *options(name="it", parallel="none", train__max_steps="2")]) == 0
    return tmp_path / "runs" / "it"


def test_what_goes_in_is_normalised_as_predict_does(run):
    trained = load_trained("it", "runs")
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8))
    (*found,) = predict(trained, images, ["a", "b", "c"])
    with torch.no_grad():
        shares = FromColours(trained).eval()(images.permute(0, 3, 1, 2).float()).softmax(1)
    for one, row in zip(found, shares, strict=True):
        assert max(one.probabilities) == pytest.approx(float(row.max()), abs=1e-5)


def test_onnx_gives_the_same_logits_for_any_number_of_pictures(run, capsys):
    import onnx
    from onnx.reference import ReferenceEvaluator

    assert cli.main(["export", "it", "--out=it.onnx"]) == 0
    assert "read back: logits within" in capsys.readouterr().out
    model = onnx.load("it.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["size"] == "64"
    pictures = np.random.default_rng(2).integers(0, 256, (3, 3, 64, 64)).astype(np.float32)
    (logits,) = ReferenceEvaluator(model).run(None, {"pictures": pictures})
    with torch.no_grad():
        expected = FromColours(load_trained("it", "runs")).eval()(torch.from_numpy(pictures))
    assert np.abs(logits - expected.numpy()).max() < 1e-5


def test_a_program_and_tensors_are_read_back(run):
    from safetensors.torch import load_file

    assert cli.main(["export", "it", "--out=it.pt2"]) == 0
    assert torch.export.load("it.pt2").module()(torch.zeros(5, 3, 64, 64)).shape == (5, 4)
    assert cli.main(["export", "it", "--out=it.safetensors"]) == 0
    kept = newest(run)["model"]
    assert all(torch.equal(value, kept[name]) for name, value in load_file("it.safetensors").items())


def test_one_tower_is_torchvisions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "--model.name=torchvision",
        "--train.max_steps=1",
        "--data.name=synthetic",
        "--data.image_size=64",
        "--data.synthetic_images=8",
    ]
    assert cli.main(["train", *words, "--train.batch_size=4", "--name=it", "--log.wandb=disabled"]) == 0
    assert cli.main(["export", "it", "--out=it.pth"]) == 0
    net = torchvision.models.alexnet(num_classes=10)
    net.load_state_dict(torch.load("it.pth", weights_only=True))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net.eval()(x), load_trained("it", "runs").net(x), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["it"], "out"),
        (["it", "--out=it.xyz"], "told by its end"),
        (["it", "--out=it.pth"], "use .safetensors for its own"),
        (["it", "--out=there.onnx"], "add --overwrite"),
        (["none", "--out=it.onnx"], "none: no such run"),
    ],
)
def test_a_mistake_is_one_line(run, words, says, capsys):
    (run.parent.parent / "there.onnx").write_text("mine")
    capsys.readouterr()
    assert cli.main(["export", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
