"""The promise: a run is a function of its configuration and seed, never of the number of processes."""

import pytest
import torch
from conftest import metrics, newest, options

EVERYTHING = {
    "train__clip_norm": "1",
    "train__ema": "0.9",
    "train__label_smoothing": "0.1",
    "optim__lr": "0.05",
    "optim__bias_lr": "2",
    "optim__schedule": "cosine",
}
# fp32 sums in another order, over a few steps of a small network
LOSS_TOLERANCE = 2e-6
WEIGHT_TOLERANCE = 2e-6


def assert_same_run(one, other):
    ours, theirs = metrics(one), metrics(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, same in zip(ours, theirs, strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=LOSS_TOLERANCE)
        assert row["lr"] == same["lr"]
        assert row["top1"] == same["top1"]
    for row, same in zip(metrics(one, "eval"), metrics(other, "eval"), strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=LOSS_TOLERANCE)
        assert (row["top1"], row["top5"], row["count"], row["step"], row["epoch"]) == tuple(
            same[key] for key in ("top1", "top5", "count", "step", "epoch")
        )
    first, second = newest(one), newest(other)
    for part in ("model", "average"):
        assert first[part].keys() == second[part].keys()
        for name, value in first[part].items():
            assert torch.allclose(value, second[part][name], rtol=0, atol=WEIGHT_TOLERANCE), f"{part} {name}"
    for name, values in first["optimizer"].items():
        for key, value in values.items():
            assert torch.allclose(value, second["optimizer"][name][key], rtol=1e-3, atol=WEIGHT_TOLERANCE), f"{name} {key}"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_two_and_three_processes_train_what_one_does(launch, tmp_path, optimizer):
    """Dropout, crops, mirrors, colour noise, accumulation, clipping, moving average, an uneven last batch of 8."""
    for processes in (1, 2, 3):
        extra = {"train__accumulate": "2"} if processes == 2 else {}
        done = launch("train", *options(name=f"on{processes}", optim__name=optimizer, **EVERYTHING, **extra), processes=processes)
        assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "runs" / "on1")[2]["step"] == 3
    for processes in (2, 3):
        assert_same_run(tmp_path / "runs" / "on1", tmp_path / "runs" / f"on{processes}")


def test_a_replica_without_pictures_still_takes_part(launch, tmp_path):
    """Batches of two on three processes, and a last batch and test set that do not divide either."""
    small = {"train__batch_size": "2", "data__synthetic_images": "9", "train__epochs": "1"}
    for processes in (1, 3):
        done = launch("train", *options(name=f"on{processes}", **small), processes=processes)
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "runs" / "on1", tmp_path / "runs" / "on3")


@pytest.mark.slow
def test_a_run_resumes_on_another_number_of_processes(launch, tmp_path):
    """Two processes stop in the middle of an epoch; one goes on; the curve is the uninterrupted one's."""
    assert launch("train", *options(name="whole", **EVERYTHING)).returncode == 0
    assert launch("train", *options(name="parts", train__max_steps="2", **EVERYTHING), processes=2).returncode == 0
    done = launch("train", *options(name="parts", checkpoint__resume="auto", **EVERYTHING))
    assert done.returncode == 0, done.stderr
    assert "going on from step 2" in done.stdout
    runs = tmp_path / "runs"
    rows, expected = metrics(runs / "parts"), metrics(runs / "whole")
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [1, 2, 3, 4, 5, 6]
    for row, same in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=LOSS_TOLERANCE)
    for name, value in newest(runs / "whole")["model"].items():
        assert torch.allclose(value, newest(runs / "parts")["model"][name], rtol=0, atol=WEIGHT_TOLERANCE), name


@pytest.mark.slow
def test_evaluation_counts_every_picture_once_on_any_number_of_processes(launch, tmp_path):
    assert launch("train", *options(name="it", train__epochs="1", data__synthetic_images="44")).returncode == 0
    lines = []
    for processes in (1, 2, 3):
        done = launch("evaluate", "runs/it", "--batch_size=4", processes=processes)
        assert done.returncode == 0, done.stderr
        lines.append(next(line for line in done.stdout.splitlines() if line.startswith("top-1")))
    assert "(11 pictures)" in lines[0]
    assert len(set(lines)) == 1


def test_only_rank_0_talks_and_writes(launch, tmp_path):
    done = launch("train", *options(name="it", train__epochs="1", train__max_steps="1"), processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 0/1") == 1
    assert sorted(path.name for path in (tmp_path / "runs" / "it").iterdir()) == ["checkpoints", "config.yaml", "metrics.jsonl"]


def test_gradient_bytes_are_those_of_a_ring(launch, tmp_path):
    """2 (D - 1) / D times the gradients' size, in fp32."""
    assert launch("train", *options(name="it", train__epochs="1", train__max_steps="1"), processes=2).returncode == 0
    parameters = sum(value.numel() for value in newest(tmp_path / "runs" / "it")["model"].values())
    (row,) = metrics(tmp_path / "runs" / "it")
    assert row["comm_bytes"] == parameters * 4
    assert 0 <= row["comm_exposed_fraction"] <= 1
