"""Weights as people have them start a network, or one line says what they are and what to do."""

import argparse
import collections
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.runs import options, small

from distalex.cli.main import main
from distalex.config.loading import load_config
from distalex.errors import UserError
from distalex.model.initial_weights import build_model
from distalex.model.torchvision_keys import TORCHVISION_KEYS
from distalex.runs.weights import load_weights
from distalex.runs.weights_file import read_weights_file

CLASSES = "abcd"


def load(path, classes=CLASSES, **changes):
    """Load a file of weights into a small network. Returns the network and the lines that were printed."""
    config, lines = small(model__weights=str(path), **changes), []
    net = build_model(config.model, len(classes), 64, seed=0)
    load_weights(net, config, classes, lines.append)
    return net, lines


def weights_of(seed=1, prefix="", **changes):
    net = build_model(small(**changes).model, 4, 64, seed)
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


def torchvisions(prefix="", between="", seed=1):
    """Weights of a small torchvision network by torchvision's names, `between` standing after `features.`."""
    theirs = {ours: theirs.replace("features.", f"features.{between}") for theirs, ours in TORCHVISION_KEYS.items()}
    weights = weights_of(seed, model__name="torchvision").items()
    return {f"{prefix}{theirs[layer]}.{leaf}": tensor for name, tensor in weights for layer, _, leaf in [name.rpartition(".")]}


class Settings(dict):
    """A class of mappings that PyTorch does not know."""


class Tracker:
    """A class of objects that PyTorch does not know."""

    def __init__(self):
        self.best = {"a": torch.ones(2)}


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


OTHERS = {
    "torchvision's": torchvisions,
    "PyTorch's ImageNet example": lambda: {
        "epoch": 3,
        "arch": "alexnet",
        "state_dict": torchvisions(between="module."),
        "best_acc1": torch.tensor(51.0),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    },
    "DDP's": lambda: torchvisions("module."),
    "compiled in DDP": lambda: {"model": torchvisions("module._orig_mod.")},
    "Lightning's": lambda: {
        "state_dict": torchvisions("net."),
        "hyper_parameters": Settings(lr=0.1),
        "callbacks": {"tracker": Tracker()},
        "loops": collections.defaultdict(list, {1: [2]}),
    },
    "with a Namespace and a NumPy number": lambda: {
        "model_state_dict": torchvisions(),
        "args": argparse.Namespace(lr=1),
        "best": np.float64(3),
    },
    "an averaged model's": lambda: {"n_averaged": torch.tensor(3), **torchvisions("module.")},
    "deep": lambda: {"a": {"b": {"backbone": torchvisions("module.model.")}}},
    "half": lambda: {"params": {name: tensor.half() for name, tensor in torchvisions().items()}},
    "bfloat16": lambda: {"weights": {name: tensor.bfloat16() for name, tensor in torchvisions().items()}},
    "with keys of our checkpoints": lambda: {"format": "pt", "config": {"model": "alexnet"}, "model": torchvisions()},
    "profiled": lambda: {**torchvisions(), "total_ops": torch.ones(1), "features.1.num_batches_tracked": torch.tensor(1)},
    "beside its momentum": lambda: {"momentum": torchvisions(seed=2), "network": torchvisions()},
    "named layers in blocks": lambda: {
        f"{'classifier' if name.startswith('fc') else 'features'}.{name}": tensor
        for name, tensor in weights_of(model__name="torchvision").items()
    },
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", OTHERS)
def test_the_state_dict_inside_a_checkpoint_of_another_program_is_found(kind, legacy, tmp_path):
    torch.save(OTHERS[kind](), tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    net, lines = load(tmp_path / "x.pth", model__name="torchvision")
    expected = weights_of(model__name="torchvision")
    apart = max(float((tensor - expected[name]).abs().max()) for name, tensor in net.state_dict().items())
    assert apart < (0.1 if kind in ("half", "bfloat16") else 1e-30)  # weights are below 1
    assert "16 tensors taken" in lines[0]
    assert not any("re-initialised" in line for line in lines)


def test_weights_of_eight_bits_are_converted(tmp_path):
    torch.save({name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights_of().items()}, tmp_path / "x.pth")
    net, _ = load(tmp_path / "x.pth")
    assert torch.equal(net.fc7.weight, weights_of()["fc7.weight"].to(torch.float8_e4m3fn).float())


def test_what_was_taken_and_what_was_left_is_reported(tmp_path):
    torch.save(OTHERS["PyTorch's ImageNet example"](), tmp_path / "x.pth.tar")
    _, lines = load(tmp_path / "x.pth.tar", model__name="torchvision")
    taken, left = "16 tensors taken (state_dict, torchvision's names)", "left in the file: best_acc1 (1), optimizer (1)"
    assert lines[0] == f"model.weights={tmp_path / 'x.pth.tar'}: {taken}; {left}"


def test_a_moving_average_is_taken_before_the_weights(tmp_path):
    torch.save({"state_dict": weights_of(seed=1), "state_dict_ema": weights_of(seed=2)}, tmp_path / "x.pth")
    net, lines = load(tmp_path / "x.pth")
    assert torch.equal(net.conv1.weight, weights_of(seed=2)["conv1.weight"])
    assert "(the moving average state_dict_ema); left in the file: state_dict (16)" in lines[0]


def test_two_networks_in_one_file_are_not_guessed_between(tmp_path):
    torch.save({**weights_of(1, "encoder_q."), **weights_of(2, "encoder_k.")}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds several networks, in encoder_q and encoder_k"):
        load(tmp_path / "x.pth")


def test_safetensors_and_torchs_files_give_the_same_weights(tmp_path):
    save_file(torchvisions(), tmp_path / "x.safetensors")
    net, _ = load(tmp_path / "x.safetensors", model__name="torchvision")
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in weights_of(model__name="torchvision").items())


def test_layers_after_the_last_of_the_file_keep_their_initial_weights(tmp_path):
    torch.save({name: tensor for name, tensor in torchvisions().items() if "features" in name}, tmp_path / "x.pth")
    net, lines = load(tmp_path / "x.pth", model__name="torchvision")
    assert torch.equal(net.fc6.weight, weights_of(seed=0, model__name="torchvision")["fc6.weight"])
    assert lines[1:] == [f"{layer} re-initialised: {tmp_path / 'x.pth'} has no such layer" for layer in ("fc6", "fc7", "fc8")]


def test_a_classifier_of_another_name_is_left(tmp_path):
    weights = {name: tensor for name, tensor in torchvisions("backbone.").items() if "classifier.6" not in name}
    torch.save({**weights, "head.weight": torch.ones(9, 32)}, tmp_path / "x.pth")
    _, lines = load(tmp_path / "x.pth", model__name="torchvision")
    assert "left in the file: head (1)" in lines[0]
    assert lines[1] == f"fc8 re-initialised: {tmp_path / 'x.pth'} has no such layer"


@pytest.mark.parametrize(
    ("classes", "is_kept"), [(CLASSES, True), (("ant", "bee", "cat", "emu"), False), (("bee", "ant", "cat", "dog"), False)]
)
def test_a_checkpoints_classifier_is_kept_for_the_same_classes_only(tmp_path, classes, is_kept):
    config = small().model_dump(mode="json")
    torch.save({"format": 1, "model": weights_of(), "config": config, "classes": list(CLASSES)}, tmp_path / "x.pt")
    net, lines = load(tmp_path / "x.pt", tuple(classes))
    assert torch.equal(net.fc8.weight, weights_of(seed=1 if is_kept else 0)["fc8.weight"])
    assert any("fc8 re-initialised" in line and "has other classes, e.g. " in line for line in lines) != is_kept


def test_a_classifier_of_as_many_classes_without_names_is_kept_aloud(tmp_path):
    torch.save(weights_of(), tmp_path / "x.pth")
    net, lines = load(tmp_path / "x.pth")
    assert torch.equal(net.fc8.weight, weights_of()["fc8.weight"])
    assert lines[1] == f"fc8 kept: {tmp_path / 'x.pth'} has 4 classes, as this run, and does not name them"


def test_our_export_names_its_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", parallel="none", train__max_steps="1")]) == 0
    assert main(["export", "it", "--out=it.safetensors"]) == 0
    _, lines = load("it.safetensors", classes=tuple(f"class{number:03d}" for number in range(4)))
    assert lines == ["model.weights=it.safetensors: 16 tensors taken"]
    assert "fc8 re-initialised: it.safetensors has other classes" in load("it.safetensors")[1][1]
    with pytest.raises(UserError, match=r"conv1.weight has shape .*; it fits with --model.width=0.25$"):
        load("it.safetensors", model__width="1")
    assert "trained with data.normalize=standard, not paper" in load("it.safetensors", data__normalize="paper")[1][-1]


def test_weights_for_imagenet_say_how_their_images_were_normalised(tmp_path):
    weights = {**torchvisions(), "classifier.6.weight": torch.ones(1000, 32), "classifier.6.bias": torch.ones(1000)}
    torch.save(weights, tmp_path / "x.pth")
    assert "use --data.normalize=imagenet" in load(tmp_path / "x.pth", model__name="torchvision")[1][-1]
    assert not any("normalize" in line for line in load(tmp_path / "x.pth", model__name="torchvision", data__normalize="imagenet")[1])


def test_a_checkpoint_of_another_width_names_the_option_that_differs(tmp_path):
    config = small(model__width="0.5")
    weights = build_model(config.model, 4, 64, seed=0).state_dict()
    torch.save({"format": 1, "model": weights, "config": config.model_dump(mode="json")}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"conv1.weight has shape .*; it fits with --model.width=0.5$"):
        load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("theirs", "fits"),
    [
        (
            {"model__width": "0.5"},
            r"conv1.weight has shape \(48, .*\), this network \(24, .*\); it fits with --model.width=0.5",
        ),
        ({"model__fc7": "64"}, r"fc7.weight has shape \(64, 32\), this network \(32, 32\); it fits with --model.fc7=64"),
        ({"model__columns": "1"}, "conv2.weight has shape .* it fits with --model.columns=1"),
        ({"model__exchange": "conv3,conv4"}, "conv4.weight has shape .* it fits with --model.exchange=conv3,conv4"),
        ({"model__without": "conv4"}, "has no conv4.weight, .* it fits with --model.without=conv4"),
        ({"model__name": "torchvision"}, "conv1.weight has shape .* it fits with --model.name=(seed|torchvision)"),
        ({"model__name": "cifar", "model__fc7": "0"}, "it fits with --model.name=cifar .*--model.fc7=0"),
    ],
)
def test_a_state_dict_of_another_network_names_the_options_that_fit(tmp_path, theirs, fits):
    torch.save(weights_of(**theirs), tmp_path / "x.pth")
    with pytest.raises(UserError, match=fits):
        load(tmp_path / "x.pth")


def test_a_checkpoint_that_computes_otherwise_is_reported(tmp_path):
    config = small(model__lrn="false").model_dump(mode="json")
    torch.save({"format": 1, "model": weights_of(), "config": config, "classes": list(CLASSES)}, tmp_path / "x.pt")
    assert "trained with --model.lrn=false" in load(tmp_path / "x.pt")[1][-1]


def test_a_run_gives_the_shape_of_its_network_where_it_is_not_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.yaml").write_text(small(model__dropout="0.1", model__lrn="false").dump())
    (tmp_path / "runs" / "first" / "checkpoints" / "best.pt").write_bytes(b"")
    for place in ("first", "runs/first", "runs/first/checkpoints", "runs/first/checkpoints/best.pt"):
        model = load_config(None, {"model.weights": place, "model.fc7": "64"}).model
        assert (model.width, model.lrn, model.fc6, model.fc7) == (0.25, False, 32, 64)
        assert model.dropout == 0.5  # how this run is trained is not the other's
    assert load_config(None, {"model.weights": "first", "model.name": "seed"}).model.fc6 == 4096


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x")


def scripted(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def exported(path):
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(3, 2),)), path)


def cut(path):
    torch.save(weights_of(), path)
    path.write_bytes(path.read_bytes()[:-2000])


def cut_legacy(path):
    torch.save(weights_of(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-2000])


def cut_safetensors(path):
    save_file(weights_of(), path)
    path.write_bytes(path.read_bytes()[:-2000])


NO_WEIGHTS = [
    (lambda path: path.write_bytes(b""), "is empty; fetch it again"),
    (lambda path: path.write_bytes(b"\xef\xbb\xbf\n<!DOCTYPE html><html>"), "is a web page"),
    (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n"), "git lfs pull"),
    (lambda path: path.write_bytes(b'{"weight_map": {}}'), "is JSON"),
    (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "is HDF5, as Keras"),
    (lambda path: path.write_bytes(b"\x1f\x8b\x08"), "is compressed; unpack it"),
    (lambda path: path.write_bytes(b"\x08\x0a\x12\x07pytorch"), "is an ONNX file; .*python -c .*, and pass weights.pth"),
    (lambda path: path.write_bytes(bytes(range(1, 200))), "is no file of weights that PyTorch or safetensors wrote"),
    (lambda path: np.savez(path.open("wb"), a=np.ones(2)), "is an archive of NumPy arrays; .*numpy.load"),
    (lambda path: archive(path, "alexnet.pth"), "is a zip archive of alexnet.pth; unpack it"),
    (scripted, r"is a TorchScript program; .*torch.jit.load\('.*x.pth', map_location='cpu'\).state_dict"),
    (exported, "is a program of torch.export; .*torch.export.load"),
    (cut, "is cut short or damaged; fetch it again"),
    (cut_legacy, "is cut short or damaged; fetch it again"),
    (cut_safetensors, "cut short or damaged"),
    (lambda path: torch.save(torch.nn.Linear(2, 2), path), r"whole pickled network; .*weights_only=False\).state_dict\(\)"),
    (lambda path: torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=False), "whole pickled network"),
    (lambda path: torch.save({"model": torch.nn.Linear(2, 2)}, path), r"weights_only=False\)\['model'\].state_dict\(\)"),
    (lambda path: torch.save({"x": torch.ones(1)}, path, pickle_protocol=4), "is a pickle of a protocol"),
    (lambda path: torch.save({**weights_of(), "x": Attack()}, path), "calls functions of the operating system"),
    (lambda path: torch.save([torch.ones(2)], path), "holds no tensors in a dict"),
    (lambda path: torch.save({"layer1.0.conv1.weight": torch.ones(2)}, path), "its tensors are named layer1.0.conv1.weight"),
    (lambda path: torch.save({**weights_of(), "conv1.bias": torch.full((24,), torch.nan)}, path), "not finite"),
    (lambda path: torch.save({**weights_of(), "conv1.bias": torch.ones(24, dtype=torch.int8)}, path), "conv1.bias holds torch.int8"),
    (lambda path: torch.save({**weights_of(), "conv1.bias": torch.ones(24).to_sparse()}, path), "conv1.bias holds .*torch.sparse_coo"),
    (lambda path: path.mkdir(), "a folder, and not a run's"),
    (lambda path: (path / "alexnet").mkdir(parents=True) or (path / "alexnet" / "data.pkl").touch(), "zip -0 -r weights.pth alexnet"),
]


@pytest.mark.parametrize(("write", "says"), NO_WEIGHTS, ids=[says for _, says in NO_WEIGHTS])
def test_what_is_no_file_of_weights_is_named_with_the_way_out(write, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.pth")
    with pytest.raises(UserError, match=says):
        load(tmp_path / "x.pth")
    assert not (tmp_path / "attacked").exists()


def test_an_address_is_to_be_fetched_first():
    with pytest.raises(UserError, match="is an address; fetch the file first"):
        load("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth")


def test_the_command_that_a_refusal_gives_writes_weights_that_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = torch.nn.Sequential(collections.OrderedDict(conv1=torch.nn.Conv2d(3, 4, 3)))
    torch.save({"model": net}, "x.pth")
    with pytest.raises(UserError) as refused:
        load("x.pth")
    command = str(refused.value).partition("python -c ")[2].partition(", and pass")[0]
    subprocess.run(f"{sys.executable} -c {command}", shell=True, check=True)
    assert torch.equal(read_weights_file(tmp_path / "weights.pth").tensors()["conv1.weight"], net.conv1.weight)
