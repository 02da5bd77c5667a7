"""Whole runs on a GPU, against those on a CPU."""

import numpy as np
import pytest
import torch
from support.runs import options

from distalex.cli.main import main
from distalex.runs.metrics import read_metrics
from distalex.train import replay

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


@pytest.mark.parametrize("changes", [{}, {"data.cache": "device"}, {"data.cache": "device", "data.cutmix": "1"}, {"data.cutmix": "1"}])
def test_a_gpu_trains_the_run_of_a_cpu(changes, tmp_path):
    """Dropout, crops, mirrors and colour noise are the same draws; cached on the device or copied beside computing."""
    losses = {}
    for device in ("cpu", "cuda"):
        words = [f"--{key}={value}" for key, value in {**changes, "device": device, "model.name": "paper"}.items()]
        if device == "cpu":
            words = [word.replace("=device", "=memory") for word in words]
        arguments = [
            *options(name=device, model__width="1", train__precision="fp32", optim__lr="0.01"),
            *words,
            f"--runs_dir={tmp_path}",
            "--parallel=none",
        ]
        assert main(["train", *arguments]) == 0
        losses[device] = [row["loss"] for row in read_metrics(tmp_path / device / "metrics.jsonl")]
    assert np.allclose(losses["cuda"], losses["cpu"], rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__width": "1"},
        {"model__width": "1", "data__cutmix": "1"},
        {"model__name": "cifar", "model__batch_norm": "true", "data__image_size": "32"},
    ],
)
def test_replayed_steps_train_the_run_of_a_cpu(changes, tmp_path, monkeypatch):
    """Dropout and its keys, running statistics and gradients are those of each step, also around a last batch of another size."""
    recorded, losses = [], {}
    record = replay.Replay._record
    monkeypatch.setattr(replay.Replay, "_record", lambda *arguments: (record(*arguments), recorded.append(arguments[0].refused))[0])
    for device in ("cpu", "cuda"):  # rounding moves the last loss by 3e-4 where batches of 9 are normalised
        arguments = options(name=device, device=device, runs_dir=str(tmp_path), train__batch_size="9", optim__lr="0.01", **changes)
        assert main(["train", *arguments, "--parallel=none"]) == 0
        losses[device] = [row["loss"] for row in read_metrics(tmp_path / device / "metrics.jsonl")]
    assert recorded == [False]
    assert np.allclose(losses["cuda"], losses["cpu"], rtol=2e-3)


def test_images_kept_on_a_gpu_are_shown(tmp_path):
    words = ["--data.cache=device", "--device=cuda", f"--runs_dir={tmp_path}"]
    assert main(["train", *options(name="it", model__width="1", log__wandb="offline"), *words, "--parallel=none"]) == 0
    assert (tmp_path / "it" / "wandb").is_dir()
    assert list((tmp_path / "it" / "wandb").rglob("*predictions*"))
    assert main(["prepare", "show", "--data.name=digits", "--data.cache=device", f"--out={tmp_path / 'shown.png'}"]) == 0


def test_a_compiled_run_on_a_gpu_is_the_plain_one(tmp_path):
    losses = []
    for compiled in ("false", "true"):
        exact = {"model__width": "1", "train__precision": "fp32", "train__max_steps": "3", "optim__lr": "0.01"}
        arguments = options(name=compiled, train__compile=compiled, **exact)
        assert main(["train", *arguments, "--model.name=paper", "--device=cuda", f"--runs_dir={tmp_path}", "--parallel=none"]) == 0
        losses.append([row["loss"] for row in read_metrics(tmp_path / compiled / "metrics.jsonl") if row["kind"] == "train"])
    assert np.allclose(*losses, rtol=1e-4)
