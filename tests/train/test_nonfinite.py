"""Losses that are not finite."""

import torch
from support.runs import metrics, newest, options
from support.train import train

from distalex.cli.main import main
from distalex.train import loop as training


def not_finite_at(step, monkeypatch):
    """Let the loss of one step come out as NaN, every time."""
    summed_loss, train_step = training.summed_loss, training.train_step
    now = []
    monkeypatch.setattr(training, "train_step", lambda state, *rest: (now.append(state.step), train_step(state, *rest))[1])
    monkeypatch.setattr(training, "summed_loss", lambda *arguments: summed_loss(*arguments) * (float("nan") if now[-1] == step else 1.0))
    return now


def test_a_loss_that_is_not_finite_ends_the_run_or_is_left_out(tmp_path, monkeypatch, capsys):
    not_finite_at(3, monkeypatch)
    words = options(parallel="none", train__epochs="3")
    assert main(["train", *words, "--name=stop"]) == 1
    assert "first at step 4" in capsys.readouterr().err
    assert main(["train", *words, "--name=skip", "--train.on_nonfinite=skip"]) == 0
    rows = metrics(tmp_path / "runs" / "skip")
    assert [row["step"] for row in rows if row["loss"] is None] == [4]
    assert [row["left_out"] for row in rows] == [0] * 3 + [1] * 6
    assert all(torch.isfinite(value).all() for value in newest(tmp_path / "runs" / "skip")["model"].values())


def test_a_run_rolls_back_and_leaves_the_bad_step_out(tmp_path, monkeypatch, capsys):
    steps = not_finite_at(5, monkeypatch)
    words = options(name="it", parallel="none", train__epochs="3", checkpoint__every_steps="2")
    assert main(["train", *words, "--train.on_nonfinite=rollback"]) == 0
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    assert "the loss of step 6 is not finite: rolled back to step 4" in capsys.readouterr().out
    assert [row["step"] for row in metrics(tmp_path / "runs" / "it")] == list(range(1, 10))


def test_a_loss_that_is_not_finite_ends_the_run_naming_the_step(capsys):
    assert train(name="it", optim__lr="100", log__every="3", train__epochs="20") == 1
    error = capsys.readouterr().err
    assert "the loss is not finite (first at step" in error
    assert "optim.lr=100" in error
    assert "Traceback" not in error
