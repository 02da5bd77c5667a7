"""Commands as a user types them: help, and the mistakes that exit with 2, one line, and nothing created."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, options
from PIL import Image

from distalex.cli.main import main
from distalex.cli.parse import parse
from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.config.schema import options_of
from distalex.errors import UserError

COMMANDS = ["train", "evaluate", "compare", "predict", "export", "report", "prepare", "plan", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_at_once_and_without_torch(command):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['distalex.{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('distalex.{command}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    sys.exit(sorted({'torch', 'numba', 'wandb', 'matplotlib'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "Usage: python -m distalex." in done.stdout


def test_help_lists_every_option_with_its_default(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for name, field in options_of(Config):
        assert f"--{name}=" in text
        assert field.description, f"{name} has no description"
    assert "--optim.lr=X [0.01]" in text
    assert "Section 5" in text


def test_no_command_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_options_reach_the_configuration_as_typed_text(monkeypatch):
    request = parse(["--optim.lr=1e-2", "--name=7.30", "--train.compile", "--model.freeze=conv1,conv2", "--seed", "3"])
    values = load_config(None, request.options)
    assert (values.optim.lr, values.name, values.train.compile, values.seed) == (0.01, "7.30", True, 3)
    assert values.model.freeze == ("conv1", "conv2")
    for text in ("0000_0000", "hi#there", "None", "[1]"):
        assert parse([f"--name={text}"]).options == {"name": text}


def test_a_dumped_configuration_loads_to_the_same(tmp_path):
    values = load_config("alexnet_paper", {"optim.layer_lr": "fc8:10", "train.ema": "0.99", "model.freeze": "conv1"})
    (tmp_path / "config.yaml").write_text(values.dump())
    assert load_config(str(tmp_path / "config.yaml")) == values


MISTAKES = [
    # what is typed, and words of the one line that answers
    (["--optim.lrr=1"], ["--optim.lrr", "command line", "did you mean optim.lr"]),
    (["--learning_rate=1"], ["--learning_rate", "did you mean optim.lr"]),
    (["--batch_size=4"], ["did you mean train.batch_size"]),
    (["--optim=sgd"], ["--optim", "no such option"]),
    (["--model.name=papper"], ["model.name=papper", "paper, seed, torchvision", "did you mean paper"]),
    (["--data.augment=flip"], ["data.augment=flip", "flip_crop"]),
    (["--data.scale=0.5,0.2"], ["data.scale=0.5,0.2", "two rising shares"]),
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
    (["--model.name=cifar", "--model.init=released"], ["model.init=released", "five convolutions"]),
    (["--model.name=cifar", "--model.pooled=conv6"], ["model.pooled=conv6", "conv5"]),
    (["--model.name=cifar", "--model.batch_norm=true", "--train.accumulate=2"], ["train.accumulate=2", "batch normalisation"]),
    (["--model.name=cifar", "--model.fc7=0", "--parallel=owt"], ["parallel=owt", "model.fc7"]),
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
    (["digits"], ["digits", "stray word"]),
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
    status = main(["train", *options(), *typed])
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("distalex train: ")
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error
    assert not (tmp_path / "runs").exists()


YAML_MISTAKES = {
    "unknown: 1": ["unknown", "line 1", "no such option"],
    "train:\n  epoch: 1": ["train.epoch", "line 2", "did you mean train.epochs"],
    "train: 3": ["train", "line 1", "section"],
    "- a\n- b": ["mapping"],
    "train:\n  epochs: 1\n  epochs: 2": ["train.epochs", "line 3", "twice"],
    "train:\n\tepochs: 1": ["not valid YAML"],
    "a: &x 1\nb: *x": ["aliases"],
    "train:\n  epochs: true": ["train.epochs", "line 2", "number"],
    "optim:\n  lr: fast": ["optim.lr=fast", "line 2", "number"],
    "train: {epochs: [1]}": ["train.epochs", "integer"],
    "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]": ["aliases"],
    "seed: !!python/object/apply:os.system [ls]": ["line 1"],
    "seed: " + "[" * 5000 + "]" * 5000: ["nested"],
    "seed: " + "9" * 5000: ["cannot be read", "digits"],
    "seed: 1\n---\nseed: 2": ["single document"],
    "1: 2": ["1", "line 1", "no such option"],
    "train: {? [a] : 1}": ["train"],
    "seed: 2001-01-01": ["seed=2001-01-01", "integer"],
    'name: "a\\0b"': ["name=", "no folder"],
}


@pytest.mark.parametrize("text", YAML_MISTAKES)
def test_a_mistake_in_a_file_names_its_line(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)
    for word in ["mine.yaml", *YAML_MISTAKES[text]]:
        assert word in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_refused(encoding, tmp_path):
    (tmp_path / "mine.yaml").write_bytes("name: café".encode(encoding))
    with pytest.raises(UserError, match=r"mine\.yaml.*(UTF-8|utf-8)"):
        load_config(str(tmp_path / "mine.yaml"))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_config(str(tmp_path))


def test_yaml_numbers_are_what_they_look_like(tmp_path):
    (tmp_path / "x.yaml").write_text("log: {project: 1:30}\noptim: {lr: 1e-2}\ntrain: {epochs: 010}\n")
    values = load_config(str(tmp_path / "x.yaml"))
    assert (values.log.project, values.optim.lr, values.train.epochs) == ("1:30", 0.01, 10)


def test_other_commands_answer_mistakes_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "there.beton").write_bytes(b"")
    typed = {
        "evaluate": "RUN is missing",
        "evaluate nowhere": "nowhere: no such run or checkpoint",
        "evaluate a b": "b: a stray word",
        "evaluate nowhere --ten=1": "--ten (command line): no such option",
        "compare": "RUN is missing",
        "compare a": "OTHER is missing",
        "compare a b c": "c: a stray word after b",
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
        "prepare digits --split=train": "go with --out",
        "prepare show x.zip": "x.zip: a stray word",
        "prepare show a.beton b.beton": "b.beton: a stray word",
        "prepare show x.beton": "x.beton: no such file",
        "prepare show --data.name=digits --out=sheet.beton": "out=sheet.beton",
        "prepare show --count=0": "count=0",
        "prepare show --data.mixup=x": "data.mixup=x",
        "prepare show --veiws=3": "--veiws",
        "bench everything": "what=everything",
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


def test_one_process_was_asked_for_and_two_started(launch):
    done = launch("train", *options(parallel="none"), processes=2)
    assert done.returncode == 1  # torchrun's own
    lines = [line for line in done.stderr.splitlines() if line.startswith(("distalex train:", "[rank 1] distalex train:"))]
    assert len(lines) == 1, "torchrun repeats it in its report"
    assert "parallel=none needs 1 process and torchrun started 2" in lines[0]
    assert "torchrun --nproc_per_node=2 -m distalex.train --parallel=data" in lines[0]


def test_one_of_several_processes_leaves_without_taking_its_interpreter_down():
    """Where gloo's threads and the end of an interpreter meet, the process is aborted after all was done."""
    program = (
        "import atexit, sys\n"
        "from distalex.cli import main\n"
        "class Late:\n"
        "    def __del__(self):\n"
        "        sys.__stdout__.write('taken down\\n')\n"
        "late = Late()\n"
        "atexit.register(print, 'at exit')\n"
        "main.main = lambda arguments: print(*arguments) or 3\n"
        "sys.argv = ['distalex', 'words']\n"
        "main.entry()\n"
    )
    for processes, said in (("1", "words\nat exit\ntaken down\n"), ("2", "words\nat exit\n")):
        variables = {**os.environ, "WORLD_SIZE": processes}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, env=variables)
        assert (done.stdout, done.returncode) == (said, 3), done.stderr


def test_torchruns_variables_are_checked(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "zero")
    assert main(["train", *options()]) == 2
    assert "RANK='zero'" in capsys.readouterr().err


def test_the_console_script_is_the_same(tmp_path):
    script = Path(sys.executable).parent / "distalex"
    if not script.is_file():
        assert shutil.which("distalex"), "the package is not installed; ./launch/test.sh does it"
        script = Path(shutil.which("distalex") or "")
    start = time.perf_counter()
    done = subprocess.run([str(script), "train", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--parallel=" in done.stdout
    assert time.perf_counter() - start < 60  # no promise; only that nothing hangs


def test_a_configuration_is_laid_over_the_one_it_is_like(tmp_path):
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5, momentum: 0.8}\ntrain: {epochs: 3}\n")
    (tmp_path / "mine.yaml").write_text("like: base.yaml\noptim: {lr: 0.25}\n")
    found = load_config(str(tmp_path / "mine.yaml"), {"train.epochs": "7"})
    assert (found.optim.lr, found.optim.momentum, found.train.epochs) == (0.25, 0.8, 7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("like: [a, b]", "like=['a', 'b']: name one configuration"),
        ("like: alexnet_papr", "did you mean alexnet_paper?"),
        ("like: mine.yaml", "leads back to"),
        ("like: other.yaml", "leads back to"),
    ],
)
def test_a_configuration_that_is_like_none_is_refused_with_its_place(tmp_path, text, says):
    (tmp_path / "other.yaml").write_text("like: mine.yaml\n")
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(str(tmp_path / "mine.yaml"), {})
    assert says in str(caught.value)
    assert "yaml, line 1: " in str(caught.value)


def test_an_empty_section_is_as_if_it_were_not_there(tmp_path):
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5}\n")
    (tmp_path / "mine.yaml").write_text("like: base.yaml\noptim:\n  # lr: 1\ntrain:\n")
    assert load_config(str(tmp_path / "mine.yaml"), {"train.epochs": "2"}).optim.lr == 0.5
