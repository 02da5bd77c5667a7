"""What a user types wrong is one line, and nothing is touched."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import options

from distalex.cli.main import main
from distalex.cli.parse import parse
from distalex.config.loading import load_config


def test_options_reach_the_configuration_as_typed_text(monkeypatch):
    request = parse(["--optim.lr=1e-2", "--name=7.30", "--train.compile", "--model.freeze=conv1,conv2", "--seed", "3"])
    values = load_config(None, request.options)
    assert (values.optim.lr, values.name, values.train.compile, values.seed) == (0.01, "7.30", True, 3)
    assert values.model.freeze == ("conv1", "conv2")
    for text in ("0000_0000", "hi#there", "None", "[1]"):
        assert parse([f"--name={text}"]).options == {"name": text}


MISTAKES = [
    # what is typed, and words of the one line that answers
    (["--optim.lrr=1"], ["--optim.lrr", "command line", "did you mean optim.lr"]),
    (["--learning_rate=1"], ["--learning_rate", "did you mean optim.lr"]),
    (["--batch_size=4"], ["did you mean train.batch_size"]),
    (["--optim=sgd"], ["--optim", "no such option", "did you mean optim.name"]),
    (["--data=photos"], ["--data", "did you mean data.root"]),
    (["--data-dir=photos"], ["--data_dir", "did you mean data.root"]),
    (["--model=seed"], ["--model", "did you mean model.name"]),
    (["--grad_clip=1"], ["did you mean train.clip_norm"]),
    (["--model.name=papper"], ["model.name=papper", "paper, paper_cifar, seed, torchvision", "did you mean paper"]),
    (["--data.augment=flip"], ["data.augment=flip", "flip_crop"]),
    (["--data.scale=0.5,0.2"], ["data.scale=0.5,0.2", "--data.scale=0.08,1"]),
    (["--data.scale=1"], ["data.scale=1", "--data.scale=0.08,1"]),
    (["--data.colour=imagenet", "--data.augment=crop"], ["data.colour=imagenet", "data.augment=crop", "add --data.augment=paper"]),
    (["--data.rotate=90"], ["data.rotate=90", "45"]),
    (["--data.cutout=2"], ["data.cutout=2", "1"]),
    (["--data.mixup=-1"], ["data.mixup=-1", "0"]),
    (["--train.epochs=-1"], ["train.epochs=-1", "0"]),
    (["--train.epochs=two"], ["train.epochs=two", "integer"]),
    (["--train.epochs=1.5"], ["train.epochs=1.5", "integer"]),
    (["--train.batch_size=0"], ["train.batch_size=0", "1"]),
    (["--optim.lr=nan"], ["optim.lr=nan", "finite"]),
    (["--optim.lr=inf"], ["optim.lr=inf"]),
    (["--optim.lr=0"], ["optim.lr=0", "greater than 0"]),
    (["--optim.lr"], ["optim.lr", "needs a value"]),
    (["--train.compile=maybe"], ["train.compile=maybe", "boolean"]),
    (["--seed=-4"], ["seed=-4"]),
    (["--data.image_size=32"], ["data.image_size=32", "64"]),
    (["--data.validation=0.1", "--data.name=beton", "--data.train=f.beton"], ["data.validation=0.1", "read whole"]),
    (["--data.fraction=0.1", "--data.name=beton", "--data.train=f.beton"], ["data.fraction=0.1", "read whole"]),
    (["--model.channels=8,8"], ["model.channels=8,8", "model.name=cifar"]),
    (["--model.fc6=0"], ["model.fc6=0", "model.name=cifar"]),
    (["--model.name=cifar", "--model.channels=8,8"], ["model.kernels=5,3,3,3,3", "as many as model.channels=8,8"]),
    (["--model.name=cifar", "--model.init=released"], ["model.init=released", "use model.init="]),
    (["--model.name=cifar", "--model.pooled=conv6"], ["model.pooled=conv6", "conv5"]),
    (["--model.name=cifar", "--model.batch_norm=true", "--train.accumulate=2"], ["train.accumulate=2", "batch normalisation"]),
    (["--model.name=cifar", "--model.fc6=0", "--model.fc7=0", "--parallel=owt"], ["parallel=owt", "model.fc7"]),
    (["--data.image_size=1000"], ["data.image_size=1000", "256"]),
    (["--model.dropout=1"], ["model.dropout=1", "less than 1"]),
    (["--name=../elsewhere"], ["name='../elsewhere'", "no folder"]),
    (["--name=a/b"], ["name='a/b'"]),
    (["--model.columns=5"], ["model.columns=5", "does not divide"]),
    (["--model.name=seed", "--model.columns=2"], ["one tower"]),
    (["--train.accumulate=64"], ["train.accumulate=64", "train.batch_size=16"]),
    (["--optim.betas=0.9"], ["optim.betas", "two numbers"]),
    (["--optim.schedule=one_cycle", "--optim.warmup_epochs=1"], ["warmup_epochs", "one_cycle"]),
    (["--config=digts"], ["--config=digts", "did you mean digits"]),
    (["--config=nowhere.yaml"], ["nowhere.yaml", "no such file", "digits"]),
    (["digits"], ["digits", "unexpected argument"]),
    (["-seed=1"], ["-seed=1", "two dashes"]),
    (["--"], ["--", "not an option"]),
    (["--device=cuda"], ["device=cuda", "no GPU"]),
    (["--device=gpu"], ["device=gpu", "auto, cpu, cuda"]),
    (["--parallel=both"], ["parallel=both", "data"]),
    (["--data.name=folder"], ["data.root"]),
    (["--data.name=folder", "--data.root=/nowhere"], ["/nowhere", "no such file or folder"]),
    (["--data.name=cifar10", "--data.root=/nowhere"], ["data.root=/nowhere", "cifar-10-batches-py"]),
    (["--data.name=beton"], ["data.train=FILE.beton"]),
    (["--data.name=beton", "--data.train=x.beton", "--data.test=y.beton"], ["x.beton", "no such file"]),
    (["--data.train=x.beton"], ["data.name=beton"]),
    (["--model.weights=nowhere.pth"], ["nowhere.pth", "no such run or checkpoint"]),
    (["--model.freeze=conv7"], ["model.freeze=conv7", "conv1"]),
    (["--optim.layer_lr=fc9:2"], ["fc9", "fc8"]),
    (["--optim.layer_lr=fc8:x"], ["optim.layer_lr"]),
    (["--checkpoint.resume=nowhere"], ["nowhere", "no such run or checkpoint"]),
    (["--log.wandb=online"], ["WANDB_API_KEY", "offline"]),
    (["--log.wandb=sometimes"], ["log.wandb=sometimes", "offline, online, disabled"]),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="one of the mistakes is to ask for a GPU where none is")
@pytest.mark.parametrize(("typed", "words"), MISTAKES, ids=[" ".join(typed) for typed, _ in MISTAKES])
def test_a_mistake_is_one_line_and_creates_nothing(typed, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no W&B key of the person who tests
    status = main(["train", *options(model__width="1"), *typed])
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("distalex train: ")
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error
    assert not (tmp_path / "runs").exists()


def test_other_commands_answer_mistakes_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "there.beton").write_bytes(b"")
    typed = {
        "evaluate": "RUN is missing",
        "evaluate nowhere": "nowhere: no such run or checkpoint",
        "evaluate a b": "b: unexpected argument",
        "evaluate nowhere --ten=1": "--ten (command line): no such option",
        "compare": "RUN is missing",
        "compare a": "OTHER is missing",
        "compare a b c": "c: unexpected argument",
        "compare nowhere a.png": "nowhere: no such run",
        "compare a.png a.png": "a.png: cannot be read as a file of weights",
        "compare a b --tolerance=-1": "tolerance=-1",
        "predict nowhere a.png": "nowhere: no such run",
        "predict x --save=image.xyz": "image.xyz",
        "prepare": "--root is missing",
        "prepare zip": "source=zip",
        "prepare folder": "--root is missing",
        "prepare folder --root=/nowhere --out=x.beton": "/nowhere: no such file or folder",
        "prepare digits --out=x.zip": "out=x.zip",
        "prepare digits --out=there.beton": "there.beton: exists",
        "prepare digits --split=train": "--out=FILE.beton",
        "prepare show x.zip": "x.zip",
        "prepare show a.beton b.beton": "b.beton: unexpected argument",
        "prepare show x.beton": "x.beton: no such file",
        "prepare show --data.name=digits --out=sheet.beton": "out=sheet.beton",
        "prepare show --count=0": "count=0",
        "prepare show --data.mixup=x": "data.mixup=x",
        "prepare show --veiws=3": "--veiws",
        "bench everything": "what=everything",
        "bench": "WHAT is missing",
        "bench lrn fast": "fast: ",
        "evaluat x": "did you mean evaluate",
    }
    for line, answer in typed.items():
        assert main(line.split()) == 2, line
        error = capsys.readouterr().err
        assert answer in error, line
        assert error.count("\n") == 1, line


def test_a_run_that_exists_is_not_touched(capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["train", *options(name="mine", runs_dir=str(tmp_path))]) == 2
    assert "exists; choose another --name" in capsys.readouterr().err
    assert main(["train", *options(name="mine", runs_dir=str(tmp_path), checkpoint__resume="auto")]) == 2
    assert "is not a run" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
