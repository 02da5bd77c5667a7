"""A network that was exported gives the logits that it gave."""

import numpy as np
import pytest
import torch
import torchvision
from support.runs import newest, options

from distalex.cli.main import main
from distalex.config.loading import load_config
from distalex.export.work import Normalised
from distalex.model.initial_weights import build_model
from distalex.predict.predictions import predict_images
from distalex.runs.trained import load_trained
from distalex.runs.weights import load_weights


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", parallel="none", train__max_steps="2")]) == 0
    return tmp_path / "runs" / "it"


def test_what_goes_in_is_normalised_as_predict_does(run):
    trained = load_trained("it", "runs")
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8))
    (*found,) = predict_images(trained, images, ["a", "b", "c"])
    with torch.no_grad():
        shares = Normalised(trained).eval()(images.permute(0, 3, 1, 2).float()).softmax(1)
    for one, row in zip(found, shares, strict=True):
        assert max(one.probabilities) == pytest.approx(float(row.max()), abs=1e-5)


def test_onnx_gives_the_same_logits_for_any_number_of_images(run, capsys):
    import onnx
    from onnx.reference import ReferenceEvaluator

    assert main(["export", "it", "--out=it.onnx"]) == 0
    assert "read back: logits within" in capsys.readouterr().out
    model = onnx.load("it.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["size"] == "64"
    images = np.random.default_rng(2).integers(0, 256, (3, 3, 64, 64)).astype(np.float32)
    (logits,) = ReferenceEvaluator(model).run(None, {"images": images})
    with torch.no_grad():
        expected = Normalised(load_trained("it", "runs")).eval()(torch.from_numpy(images))
    assert np.abs(logits - expected.numpy()).max() < 1e-5


def test_a_program_and_tensors_are_read_back(run):
    from safetensors.torch import load_file

    assert main(["export", "it", "--out=it.pt2"]) == 0
    assert torch.export.load("it.pt2").module()(torch.zeros(5, 3, 64, 64)).shape == (5, 4)
    assert main(["export", "it", "--out=it.safetensors"]) == 0
    kept = newest(run)["model"]
    assert all(torch.equal(value, kept[name]) for name, value in load_file("it.safetensors").items())


def released_weights():
    """Random weights in the layout of the released code, with fc6 and fc7 of 32 units."""
    random = torch.Generator().manual_seed(0)
    kernels = {"conv1": (3, 11, 48), "conv2": (48, 5, 128), "conv3": (128, 3, 192), "conv4": (192, 3, 192), "conv5": (192, 3, 128)}
    weights = {}

    def add(name, inputs, outputs, parts):
        for part in range(parts):
            weights[f"{name}.weights.{part}"] = torch.randn(inputs, outputs, generator=random) * (1.5 / inputs / parts) ** 0.5
        weights[f"{name}.biases"] = torch.randn(1, outputs, generator=random) * 0.1

    for layer, (channels, kernel, filters) in kernels.items():
        for column in "ab":
            add(layer + column, channels * kernel * kernel, filters, 2 if layer == "conv3" else 1)
    for column in "ab":
        add(f"fc2048{column}", 128 * 36, 16, 2)
    for column in "ab":
        add(f"fc2048b{column}", 16, 16, 2)
    add("fc1000", 16, 4, 2)
    return weights


def released_network(weights, images):
    """Its two columns, a matrix product at a time; ReLU, normalisation and pooling where the paper has them."""

    def conv(name, inputs, kernel, stride, padding):
        side = (inputs[0].shape[2] + 2 * padding - kernel) // stride + 1
        sums = weights[f"{name}.biases"].view(1, -1, 1)
        for part, x in enumerate(inputs):
            patches = torch.nn.functional.unfold(x, kernel, padding=padding, stride=stride)
            sums = sums + weights[f"{name}.weights.{part}"].T @ patches
        return sums.unflatten(2, (side, side)).relu()

    def fc(name, inputs):
        return sum(x @ weights[f"{name}.weights.{part}"] for part, x in enumerate(inputs)) + weights[f"{name}.biases"]

    norm, pool = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), torch.nn.MaxPool2d(3, 2)
    a, b = (pool(norm(conv(f"conv1{c}", [images], 11, 4, 2))) for c in "ab")
    a, b = (pool(norm(conv(f"conv2{c}", [x], 5, 1, 2))) for c, x in (("a", a), ("b", b)))
    a, b = (conv(f"conv3{c}", [a, b], 3, 1, 1) for c in "ab")
    a, b = (conv(f"conv4{c}", [x], 3, 1, 1) for c, x in (("a", a), ("b", b)))
    a, b = (pool(conv(f"conv5{c}", [x], 3, 1, 1)).flatten(1) for c, x in (("a", a), ("b", b)))
    a, b = (fc(f"fc2048{c}", [a, b]).relu() for c in "ab")
    a, b = fc("fc2048ba", [a, b]).relu(), fc("fc2048bb", [b, a]).relu()
    return fc("fc1000", [a, b])


def test_the_released_codes_columns_become_the_papers_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = released_weights()
    torch.save(weights, "columns.pth")
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    config = load_config(None, {"model.fc6": "32", "model.fc7": "32", "model.weights": "columns.pth", "data.normalize": "paper"})
    net = build_model(config.model, 4, 224, 0).eval()
    load_weights(net, config, "abcd", print)
    with torch.no_grad():
        expected, logits = released_network(weights, images), net(images)
    assert expected.std() > 0.01
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()

    words = ["train", *options(name="it", parallel="none", model__width="1", model__weights="columns.pth")]
    for damage, says in (
        ({"conv2b.weights.0": None}, "model.weights=columns.pth: is in the released code's layout, but lacks conv2b.weights.0"),
        ({"conv3a.weights.1": torch.zeros(1152, 5)}, "model.weights=columns.pth: its matrices of conv3a and conv3b do not fit together"),
        ({"conv1a.weights.0": torch.zeros(364, 48)}, "model.weights=columns.pth: its matrices of conv1a and conv1b do not fit together"),
    ):
        damaged = {name: value for name, value in {**weights, **damage}.items() if value is not None}
        torch.save(damaged, "columns.pth")
        assert main(words) == 2
        assert says in capsys.readouterr().err


@pytest.mark.slow(7)
def test_one_tower_is_torchvisions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "--model.name=torchvision",
        "--train.max_steps=1",
        "--data.name=synthetic",
        "--data.image_size=64",
        "--data.synthetic_images=8",
    ]
    assert main(["train", *words, "--train.batch_size=4", "--name=it", "--log.wandb=disabled", "--log.report=false"]) == 0
    assert main(["export", "it", "--out=it.pth"]) == 0
    net = torchvision.models.alexnet(num_classes=10)
    net.load_state_dict(torch.load("it.pth", weights_only=True))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net.eval()(x), load_trained("it", "runs").net(x), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["it"], "--out is missing: File to write"),
        (["it", "--out=it.xyz"], "out=it.xyz"),
        (["it", "--out=it.pth"], "use .safetensors"),
        (["it", "--out=there.onnx"], "add --overwrite"),
        (["none", "--out=it.onnx"], "none: no such run"),
    ],
)
def test_a_mistake_is_one_line(run, words, says, capsys):
    (run.parent.parent / "there.onnx").write_text("mine")
    capsys.readouterr()
    assert main(["export", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
