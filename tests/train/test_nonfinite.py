"""Losses that are not finite."""

import dataclasses
import re

import pytest
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


def test_a_bad_loss_between_two_rows_ends_the_run_though_later_ones_are_finite(tmp_path, monkeypatch, capsys):
    now = not_finite_at(1, monkeypatch)
    apply = training.apply_gradients
    monkeypatch.setattr(training, "apply_gradients", lambda *arguments: None if now[-1] == 1 else apply(*arguments))
    assert main(["train", *options(name="it", parallel="none", train__epochs="3", log__every="10")]) == 1
    assert "first at step 2" in capsys.readouterr().err
    assert now == [0, 1, 2]


def test_a_run_rolls_back_and_leaves_the_bad_step_out(tmp_path, monkeypatch, capsys):
    steps = not_finite_at(5, monkeypatch)
    words = options(name="it", parallel="none", train__epochs="3", checkpoint__every_steps="2")
    assert main(["train", *words, "--train.on_nonfinite=rollback"]) == 0
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    assert "loss or gradients of step 6 are not finite: rolled back to step 4" in capsys.readouterr().out
    assert [row["step"] for row in metrics(tmp_path / "runs" / "it")] == list(range(1, 10))


def test_a_loss_or_a_state_that_is_not_finite_ends_the_run_naming_the_step(capsys):
    assert train(name="it", model__width="1", optim__lr="100", log__every="3", train__epochs="20") == 1
    error = capsys.readouterr().err
    assert re.search(r"not finite .*at step \d", error)  # weights may overflow in a step that has a finite loss
    assert "optim.lr=100" in error
    assert "Traceback" not in error


def overflow_at(steps, monkeypatch, factor=float("inf")):
    """Let fc8's gradients overflow, or grow by `factor`, in these steps (from 0), under a finite loss."""
    build_state, made = training.build_state, []

    def build(*arguments):
        made[:] = build_state(*arguments)
        state = made[0]
        state.net.fc8.weight.register_hook(lambda gradient: gradient * factor if state.step in steps else gradient)
        return tuple(made)

    monkeypatch.setattr(training, "build_state", build)


def test_a_state_that_is_not_finite_is_not_saved_and_a_restart_finds_the_last_good_one(tmp_path, monkeypatch, capsys):
    overflow_at({3}, monkeypatch)
    changes = {"log__every": "20", "checkpoint__every_steps": "2", "checkpoint__keep": "3", "train__epochs": "3"}
    assert train(name="it", **changes) == 1
    assert "not finite at step 4" in capsys.readouterr().err
    assert all(torch.isfinite(value).all() for value in newest(tmp_path / "runs" / "it")["model"].values())
    assert newest(tmp_path / "runs" / "it")["progress"]["step"] == 3
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert train(name="it", checkpoint__resume="auto", **changes) == 0


def test_a_checkpoint_that_is_not_finite_is_skipped_on_resuming(tmp_path, capsys):
    assert train(name="it", checkpoint__every_steps="3") == 0
    path = max((tmp_path / "runs" / "it" / "checkpoints").glob("step-*.pt"))
    state = torch.load(path, weights_only=True)
    state["optimizer"]["fc8.weight"]["momentum_buffer"][0, 0] = float("nan")
    torch.save(state, path)
    assert train(name="it", checkpoint__resume="auto") == 0
    said = capsys.readouterr().out
    assert f"{path.name}: its weights or its optimizer's state are not finite" in said
    assert "resuming from step 3" in said


@pytest.mark.parametrize("mode", ["skip", "rollback"])
def test_gradients_that_overflow_under_a_finite_loss_are_not_applied(tmp_path, monkeypatch, mode):
    overflow_at({4}, monkeypatch)
    assert train(name="it", train__on_nonfinite=mode, train__epochs="3") == 0
    rows = metrics(tmp_path / "runs" / "it")
    assert [row["left_out"] for row in rows][-1] == 1
    assert all(row["loss"] is not None for row in rows)


def test_a_run_that_skips_every_step_gives_up(tmp_path, monkeypatch, capsys):
    overflow_at(range(1000), monkeypatch)
    assert train(name="it", train__on_nonfinite="skip", train__epochs="20") == 1
    assert "steps in a row" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["skip", "rollback"])
def test_running_statistics_are_left_out_with_their_step(tmp_path, monkeypatch, mode):
    """Batch normalisation of an image that is not finite would keep NaN for ever."""
    step = training.train_step

    def poisoned(state, forward, batch, *rest):
        if state.step == 3:
            batch.images[0] = float("nan")
        return step(state, forward, batch, *rest)

    monkeypatch.setattr(training, "train_step", poisoned)
    network = {"model__name": "cifar", "model__batch_norm": "true", "model__channels": "8,8,8,8,8", "model__fc6": "8"}
    assert train(name="it", **network, data__image_size="32", model__fc7="0", train__on_nonfinite=mode) == 0
    assert all(torch.isfinite(value).all() for value in newest(tmp_path / "runs" / "it")["model"].values())
    assert metrics(tmp_path / "runs" / "it", "eval")[-1]["loss"] is not None


def test_a_run_that_begins_from_another_can_roll_back_at_once(tmp_path, monkeypatch, capsys):
    assert train(name="first", train__epochs="1") == 0
    overflow_at({3}, monkeypatch)
    assert train(name="second", checkpoint__resume="first", train__on_nonfinite="rollback") == 0
    assert "rolled back to step 3" in capsys.readouterr().out


def test_an_evaluation_that_is_not_finite_ends_the_run_with_a_status(tmp_path, monkeypatch, capsys):
    evaluate = training.evaluate
    monkeypatch.setattr(training, "evaluate", lambda *given, **more: dataclasses.replace(evaluate(*given, **more), loss=float("inf")))
    assert train(name="it", train__epochs="1") == 1
    assert "the loss of the evaluation at step 3 is not finite" in capsys.readouterr().err


def test_no_checkpoint_is_saved_after_an_infinite_loss_with_finite_gradients(monkeypatch, capsys):
    summed_loss, calls = training.summed_loss, []
    monkeypatch.setattr(
        training, "summed_loss", lambda *given: (calls.append(1), summed_loss(*given))[1] + (float("inf") if len(calls) == 2 else 0)
    )
    assert train(name="it", log__every="20", checkpoint__every_steps="2") == 1
    assert "a loss is not finite at step 2 (first at step 2)" in capsys.readouterr().err


def test_a_gradient_whose_norm_overflows_is_not_clipped_to_nothing(tmp_path, monkeypatch):
    overflow_at({2}, monkeypatch, 1e25)
    assert train(name="it", train__clip_norm="1", train__on_nonfinite="skip") == 0
    assert [row["left_out"] for row in metrics(tmp_path / "runs" / "it")] == [0, 0, 1, 1, 1, 1]


def test_steps_left_out_are_counted_on_after_resuming(tmp_path, monkeypatch):
    overflow_at({1}, monkeypatch)
    assert train(name="it", train__on_nonfinite="skip", train__max_steps="3") == 0
    assert train(name="it", train__on_nonfinite="skip", checkpoint__resume="auto") == 0
    assert [row["left_out"] for row in metrics(tmp_path / "runs" / "it")] == [0, 1, 1, 1, 1, 1]


@pytest.fixture
def not_a_number(tmp_path):
    """A run whose newest checkpoint has one weight that is NaN."""
    assert train(name="it", train__epochs="1") == 0
    path = max((tmp_path / "runs" / "it" / "checkpoints").glob("step-*.pt"))
    state = torch.load(path, weights_only=True)
    state["model"]["fc8.weight"][0, 0] = float("nan")
    torch.save(state, path)


@pytest.mark.parametrize("command", [["evaluate", "it"], ["predict", "it"], ["export", "it", "--out=it.onnx"]])
def test_a_network_that_is_not_finite_is_not_used(not_a_number, capsys, command):
    assert main(command) == 2
    assert "its weights are not finite; use an earlier checkpoint" in capsys.readouterr().err


def test_no_run_begins_from_a_checkpoint_that_is_not_finite(not_a_number, capsys):
    assert train(name="second", checkpoint__resume="it") == 2
    assert "are not finite; name an earlier one" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate", "it"], ["predict", "it"]])
def test_outputs_that_overflow_are_a_failure_and_no_result(tmp_path, capsys, command):
    assert train(name="it", train__epochs="1") == 0
    path = max((tmp_path / "runs" / "it" / "checkpoints").glob("step-*.pt"))
    state = torch.load(path, weights_only=True)
    for layer in ("fc6", "fc7", "fc8"):
        state["model"][f"{layer}.weight"] *= 1e30
    torch.save(state, path)
    assert main(command) == 1
    assert "not finite" in capsys.readouterr().err
