"""Whole runs of the trainer."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from support.runs import metrics, newest, options
from support.train import train

from distalex.cli.main import main
from distalex.config.loading import CONFIGS, load_config
from distalex.machine.precision import has_bf16
from distalex.runs.metrics import best_evaluation

SHIPPED = sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml"))


@pytest.mark.slow(90)
def test_digits_passes_97_percent_and_tools_agree(tmp_path, capsys):
    assert main(["train", "--config=digits", "--name=digits", "--log.wandb=disabled", "--log.report=false", "--train.threads=1"]) == 0
    run = tmp_path / "runs" / "digits"
    trained = best_evaluation(metrics(run, "eval"))  # whose checkpoint `evaluate` takes; the last epoch's on some processors
    assert trained["count"] == 359
    assert trained["top1"] > 97
    assert main(["evaluate", "digits"]) == 0
    report = json.loads((run / "evaluation.json").read_text())
    assert report["top1"] == trained["top1"]
    assert report["loss"] == pytest.approx(trained["loss"], rel=1e-3)  # bf16, another batch shape
    assert sum(map(sum, report["confusion"])) == 359
    assert sum(row[number] for number, row in enumerate(report["confusion"])) == round(359 * report["top1"] / 100)
    capsys.readouterr()
    assert main(["predict", "runs/digits", "--count=30", "--save=shown.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("- right" in line for line in lines) >= 27
    with Image.open("shown.png") as image:
        assert min(image.size) > 400


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_runs(name, tmp_path):
    """Two steps on noise, with its own network, optimizer, schedule and augmentation, the wide layers narrowed."""
    size = load_config(name, {"data.name": "synthetic"}).data.image_size
    small = ["--data.name=synthetic", "--data.synthetic_images=8", f"--data.stored_size={size}", "--train.batch_size=4", "--train.epochs=1"]
    narrow = [
        "--model.fc6=64",
        "--model.fc7=64",
        "--name=it",
        "--log.wandb=disabled",
        "--log.report=false",
        "--log.every=1",
        "--train.threads=1",
    ]
    assert main(["train", f"--config={name}", *small, *narrow]) == 0
    assert [row["step"] for row in metrics(tmp_path / "runs" / "it")] == [1, 2]


def test_a_run_leaves_what_the_contract_says(tmp_path):
    assert train(name="it", checkpoint__every_steps="1", checkpoint__keep="2") == 0
    run = tmp_path / "runs" / "it"
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "metrics.jsonl", "starts.jsonl"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.pt", "step-00000005.pt", "step-00000006.pt"]
    assert load_config(str(run / "config.yaml")).name == "it"
    row = metrics(run)[0]
    assert {"step", "epoch", "loss", "lr", "images_per_second", "data_wait_fraction", "comm_bytes", "comm_exposed_fraction"} <= row.keys()
    assert 0 < row["mfu"] < 1
    assert {"step", "epoch", "loss", "top1", "top5", "count"} <= metrics(run, "eval")[0].keys()
    first = [row for row in metrics(run) if row["epoch"] == 1]
    assert metrics(run, "epoch")[0]["images"] == sum(row["images"] for row in first)
    mean = sum(row["loss"] * row["images"] for row in first) / sum(row["images"] for row in first)
    assert metrics(run, "epoch")[0]["loss"] == pytest.approx(mean)
    assert len(metrics(run)) == 6
    assert [row["epoch"] for row in metrics(run, "eval")] == [1, 2]


def test_the_saved_config_reproduces_the_run(tmp_path):
    assert train(name="first") == 0
    assert main(["train", "--config=runs/first/config.yaml", "--name=second"]) == 0
    losses = [[row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("first", "second")]
    assert losses[0] == losses[1]


def test_a_network_learns_a_handful_of_images_by_heart(tmp_path):
    learn = {"optim__name": "adamw", "optim__lr": "0.001", "train__epochs": "12", "data__augment": "none", "model__dropout": "0"}
    assert train(name="it", model__fc6="256", model__fc7="256", **learn) == 0
    losses = [row["loss"] for row in metrics(tmp_path / "runs" / "it")]
    assert losses[0] == pytest.approx(1.386, abs=0.1)  # ln 4
    assert losses[-1] < 0.1


@pytest.mark.slow(20)
@pytest.mark.parametrize("size", ["64", "96", "227"])
def test_the_default_initial_weights_train_at_every_size(tmp_path, size):
    """At the paper's channels; 40 steps of 8 images."""
    steps = {"train__epochs": "1", "data__synthetic_images": "320", "train__batch_size": "8", "data__stored_size": "64"}
    network = {"model__width": "1", "model__fc6": "512", "model__fc7": "512", "optim__name": "adamw", "optim__lr": "3e-4"}
    assert train(name="it", data__image_size=size, data__augment="none", **network, **steps) == 0
    losses = [row["loss"] for row in metrics(tmp_path / "runs" / "it")]
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


@pytest.mark.slow(7)
def test_bf16_becomes_fp32_where_the_processor_lacks_it(tmp_path):
    """PyTorch's stand-in is hundreds of times slower. oneDNN reads at its first use that it is to see an old processor."""
    for precision in ("fp32", "bf16"):
        words = options(name=precision, train__precision=precision, train__max_steps="3", device="cpu")
        command = [sys.executable, "-m", "distalex.train", *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"})
        assert done.returncode == 0, done.stderr
    assert "fp32 (not bf16, for which this device has no instructions)" in done.stdout
    fp32, bf16 = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("fp32", "bf16"))
    assert bf16 == fp32


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bf16 instructions")
def test_precision_bf16_stays_near_fp32(tmp_path):
    for precision in ("fp32", "bf16"):
        assert train(name=precision, train__precision=precision, optim__lr="0.001") == 0  # a curve that errors do not leave
    fp32, bf16 = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("fp32", "bf16"))
    assert fp32 != bf16
    assert bf16 == pytest.approx(fp32, rel=0.01)  # 8 bits of mantissa, averaged over a batch


@pytest.mark.slow(60)
def test_compiled_is_the_same_network(tmp_path):
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        assert train(name=name, train__compile=compiled, train__epochs="1") == 0
    plain, compiled = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, abs=1e-4)  # fused kernels round elsewhere
    assert newest(tmp_path / "runs" / "compiled")["model"].keys() == newest(tmp_path / "runs" / "plain")["model"].keys()


@pytest.mark.slow(30)
def test_the_tutorials_job_on_real_images(tmp_path, cifar10_jpeg):
    """Ten steps of seed_cifar10 on all of CIFAR-10: prepared, trained, evaluated on all 10,000."""
    options_ = [
        "--config=seed_cifar10",
        f"--data.root={cifar10_jpeg}",
        "--train.max_steps=10",
        "--train.threads=1",
        "--name=it",
        "--log.wandb=disabled",
        "--log.report=false",
        "--log.every=1",
    ]
    assert main(["train", *options_]) == 0
    run = tmp_path / "runs" / "it"
    assert metrics(run, "eval")[-1]["count"] == 10_000
    assert metrics(run)[0]["loss"] == pytest.approx(2.303, abs=0.01)
    assert metrics(run)[-1]["loss"] < 2.303


@pytest.mark.slow(8)
def test_without_a_compiler_a_run_goes_on_without_compiling(launch, tmp_path):
    done = launch("train", *options(name="it", train__compile="true", train__max_steps="1", parallel="none"), PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    assert "torch.compile does not work here (No working C++ compiler" in done.stderr
    assert (tmp_path / "runs" / "it" / "metrics.jsonl").is_file()
