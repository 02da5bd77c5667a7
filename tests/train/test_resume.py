"""Stopping, resuming and saving."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from support.runs import metrics, newest, options
from support.train import train

from distalex.cli.main import main
from distalex.config.loading import load_config
from distalex.runs.checkpoint import newest_first, step_of
from distalex.train import loop as training
from distalex.train.stopping import StopSignals


@pytest.mark.parametrize("stop", ["2", "3", "4"])
def test_a_stopped_run_resumes_to_the_bit(tmp_path, stop):
    """fp32, one process: in the middle of an epoch, at its end, and in the next."""
    more = {"train__ema": "0.9", "optim__name": "adam", "optim__lr": "0.001"}
    assert train(name="whole", **more) == 0
    assert train(name="parts", train__max_steps=stop, **more) == 0
    assert train(name="parts", checkpoint__resume="auto", **more) == 0
    runs = tmp_path / "runs"
    for kind in ("train", "epoch"):
        assert [row["loss"] for row in metrics(runs / "parts", kind)] == [row["loss"] for row in metrics(runs / "whole", kind)]
    first, second = newest(runs / "whole"), newest(runs / "parts")
    for part in ("model", "average"):
        assert all(torch.equal(value, second[part][name]) for name, value in first[part].items())


def test_a_finished_run_that_is_resumed_changes_nothing(tmp_path):
    assert train(name="it") == 0
    before = (tmp_path / "runs" / "it" / "metrics.jsonl").read_text()
    assert train(name="it", checkpoint__resume="auto") == 0
    assert (tmp_path / "runs" / "it" / "metrics.jsonl").read_text() == before


def test_resuming_from_an_older_checkpoint_renames_a_damaged_later_one(tmp_path):
    assert train(name="it", train__epochs="3", checkpoint__keep="1") == 0
    folder = tmp_path / "runs" / "it" / "checkpoints"
    damaged = folder / "step-00000099.pt"
    damaged.write_bytes(b"no checkpoint")
    assert train(name="it", train__epochs="3", checkpoint__keep="1", checkpoint__resume="auto") == 0
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000009.pt", "step-00000099.stale"]


def test_an_evaluation_in_mid_epoch_does_not_count_for_the_plateau(tmp_path):
    slow = {"optim__schedule": "plateau", "optim__patience": "1", "train__epochs": "3"}
    assert train(name="whole", **slow) == 0
    for steps in ("1", "2", "5", "9"):
        assert train(name="parts", train__max_steps=steps, checkpoint__resume="auto", **slow) == 0
    rates, expected = ([row["lr"] for row in metrics(tmp_path / "runs" / name)] for name in ("parts", "whole"))
    assert rates == expected


def test_resuming_with_other_options_is_refused_naming_them(capsys):
    assert train(name="it") == 0
    assert train(name="it", checkpoint__resume="auto", optim__lr="0.5") == 2
    assert "optim.lr was 0.01 and is 0.5" in capsys.readouterr().err


def test_a_run_resumes_from_a_checkpoint_of_another(tmp_path):
    assert train(name="first", train__max_steps="3") == 0
    assert train(name="second", checkpoint__resume="first") == 0
    assert [row["step"] for row in metrics(tmp_path / "runs" / "second")] == [4, 5, 6]


def test_a_run_of_another_network_is_refused_with_the_option_that_differs(capsys):
    assert train(name="a", train__max_steps="1") == 0
    assert train(name="b", checkpoint__resume="a", model__fc6="64") == 2
    assert "checkpoint.resume=a: does not fit this network: its network has --model.fc6=32; use its options" in capsys.readouterr().err


def test_an_epoch_begun_in_one_order_is_not_finished_in_another(tmp_path, capsys):
    assert train(name="first", train__max_steps="4") == 0  # three steps an epoch
    assert train(name="second", checkpoint__resume="first", train__batch_size="20") == 2
    said = capsys.readouterr().err
    assert "step-00000004.pt is 1 steps into an epoch" in said
    assert "train.batch_size was 16 and is 20" in said
    assert not (tmp_path / "runs" / "second").exists()
    assert train(name="whole", train__epochs="1") == 0
    assert train(name="third", checkpoint__resume="whole", train__batch_size="20") == 0
    assert [row["step"] for row in metrics(tmp_path / "runs" / "third")] == [4, 5]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_saves_and_ends_with_143(tmp_path, processes):
    launcher = [] if processes == 1 else ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = [sys.executable, "-m", *launcher, "distalex.train", *options(name="it", train__epochs="10000")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    file = tmp_path / "runs" / "it" / "metrics.jsonl"
    for _ in range(600):
        if file.is_file() and file.read_text().count("\n") > 3:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    if processes == 1:
        assert process.returncode == 143
        assert "and saved; resume with: python -m distalex.train --name=it --checkpoint.resume=auto" in out
    step = newest(tmp_path / "runs" / "it")["progress"]["step"]
    assert step >= metrics(tmp_path / "runs" / "it")[-1]["step"] - 1
    assert train(name="it", train__epochs="10000", checkpoint__resume="auto", train__max_steps=str(step + 1)) == 0
    steps = [row["step"] for row in metrics(tmp_path / "runs" / "it")]
    assert steps == list(range(1, step + 2))


def test_a_refusing_disk_does_not_lose_the_run(tmp_path, monkeypatch, capsys):
    from distalex.runs import writer
    from distalex.runs.checkpoint import save

    real, calls = save, []

    def sometimes(state, path):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(state, path)

    monkeypatch.setattr(writer, "save", sometimes)
    assert train(name="it") == 0
    assert "No space left on device; training continues" in capsys.readouterr().out
    assert newest(tmp_path / "runs" / "it")["progress"]["step"] == 6


def test_a_leftover_of_a_start_is_no_run(tmp_path):
    """Killed between creating the folder and writing config.yaml."""
    (tmp_path / "runs" / "it" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "it" / ".config.yaml.77.partial").write_text("pa")
    assert train(name="it", train__epochs="1") == 0
    (tmp_path / "runs" / "other" / "checkpoints").mkdir(parents=True)
    assert train(name="other", train__epochs="1", checkpoint__resume="auto") == 0


def test_another_optimizers_state_is_not_taken_over(tmp_path, capsys):
    assert train(name="first", train__epochs="1") == 0
    for name in ("adam", "lars"):
        assert train(name=name, checkpoint__resume="first", optim__name=name, optim__lr="0.001") == 0
        assert "optimizer state re-initialised: the checkpoint has sgd's" in capsys.readouterr().out


def test_the_best_checkpoint_is_of_the_branch_that_the_run_is_on(tmp_path):
    assert train(name="it", train__epochs="3", checkpoint__keep="3") == 0
    folder = tmp_path / "runs" / "it" / "checkpoints"
    best = torch.load(folder / "best.pt", weights_only=True)
    best["progress"]["step"], best["progress"]["best_top1"] = 9, 100.0
    (folder / "best.pt").unlink()  # it may be one file with a step's
    torch.save(best, folder / "best.pt")
    for path in sorted(folder.glob("step-*.pt"))[1:]:
        path.unlink()
    assert train(name="it", train__epochs="2", checkpoint__resume=str(folder / "step-00000003.pt")) == 0
    assert (folder / "best.stale").exists()
    evaluations = metrics(tmp_path / "runs" / "it", "eval")
    assert torch.load(folder / "best.pt", weights_only=True)["progress"]["best_top1"] <= max(row["top1"] for row in evaluations)


def test_a_fine_tuned_run_resumes_without_the_file_of_its_weights(tmp_path):
    assert train(name="base", train__epochs="1") == 0
    words = {"name": "tuned", "model__weights": str(next((tmp_path / "runs" / "base" / "checkpoints").glob("step-*.pt")))}
    assert train(**words, train__max_steps="2") == 0
    shutil.rmtree(tmp_path / "runs" / "base")
    assert train(**words, checkpoint__resume="auto") == 0


def test_a_failure_of_any_kind_while_writing_is_no_success(tmp_path, monkeypatch, capsys):
    from distalex.runs import writer

    def broken(state, path):
        raise ValueError("no such thing")

    monkeypatch.setattr(writer, "save", broken)
    assert train(name="it", train__epochs="1") == 1
    assert "ValueError: no such thing" in capsys.readouterr().err


def test_no_step_waits_for_a_slow_disk(tmp_path, monkeypatch):
    """Three checkpoints while one is written: the newest waits, the older one does not come, and nobody waited."""
    from distalex.runs import writer

    begun, go_on, written = threading.Event(), threading.Event(), []

    def slow(state, path):
        begun.set()
        go_on.wait(30)
        path.write_bytes(b"")
        written.append(path.name)

    monkeypatch.setattr(writer, "save", slow)
    at_work = writer.Writer(tmp_path, print)
    for step, names in ((1, ["step-00000001.pt"]), (2, ["step-00000002.pt", "best.pt"]), (3, ["step-00000003.pt"])):
        at_work.write({"step": step}, names, 3, "")
        assert begun.wait(30)
    assert not written
    go_on.set()
    at_work.wait()
    assert written == ["step-00000001.pt", "best.pt", "step-00000003.pt"]


def test_checkpoints_are_ordered_by_their_step(tmp_path):
    for step in (99_999_999, 100_000_000):
        (tmp_path / f"step-{step:08d}.pt").touch()
    assert [step_of(path) for path in newest_first(tmp_path)] == [100_000_000, 99_999_999]


def test_credentials_of_the_copys_place_are_written_nowhere(tmp_path, capsys):
    away = f"file://user:secret@{tmp_path}/away"
    assert train(name="it", train__epochs="1", checkpoint__remote=f"file://{tmp_path}/away") == 0
    config = load_config(None, {"checkpoint.remote": away})
    assert "secret" not in config.dump() + str(config.model_dump(mode="json"))
    assert config.checkpoint.remote == away


def test_the_hint_of_a_stopped_run_works_when_pasted(tmp_path, monkeypatch, capsys):
    """Resuming by name takes the run's own config."""
    requested = StopSignals.requested
    monkeypatch.setattr(StopSignals, "requested", lambda signals: requested(signals) or len(list(tmp_path.rglob("step-00000002.pt"))) > 0)
    words = options(name="it", parallel="none", checkpoint__every_steps="2", optim__lr="0.02", runs_dir="my runs")
    main(["train", *words])
    (hint,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("stopped at step"))
    monkeypatch.setattr(StopSignals, "requested", requested)
    assert main(["train", *shlex.split(hint.partition("resume with: python -m distalex.train ")[2])]) == 0
    assert [row["lr"] for row in metrics(tmp_path / "my runs" / "it")] == [0.02] * 6


def test_a_checkpoint_with_other_options_is_not_taken_for_the_runs_own(tmp_path, capsys):
    runs = tmp_path / "runs"
    assert train(name="it", train__max_steps="2") == 0
    assert train(name="other", train__max_steps="4", optim__lr="0.02") == 0
    shutil.copy(runs / "other" / "checkpoints" / "step-00000004.pt", runs / "it" / "checkpoints")
    assert train(name="it", checkpoint__resume="auto") == 2
    assert "step-00000004.pt was saved with other options: optim.lr was 0.02 and is 0.01" in capsys.readouterr().err
    config = runs / "other" / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.02", "lr: 0.03"))
    assert train(name="other", checkpoint__resume="auto", optim__lr="0.03") == 2
    assert "optim.lr was 0.02 and is 0.03" in capsys.readouterr().err


def test_a_run_that_lost_its_config_resumes_from_its_checkpoint(tmp_path, capsys):
    assert train(name="it", train__max_steps="2") == 0
    (tmp_path / "runs" / "it" / "config.yaml").unlink()
    assert train(name="it", checkpoint__resume="auto", optim__lr="0.02") == 2
    assert "optim.lr was 0.01 and is 0.02" in capsys.readouterr().err
    assert train(name="it", checkpoint__resume="auto") == 0
    assert "resuming from step 2" in capsys.readouterr().out


def test_a_run_that_begins_from_another_never_starts_anew_in_silence(tmp_path, monkeypatch, capsys):
    assert train(name="first", train__epochs="1") == 0

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", killed)
        assert train(name="second", checkpoint__resume="first") == 130
    shutil.copytree(tmp_path / "runs" / "second", tmp_path / "runs" / "third")
    assert train(name="second", checkpoint__resume="auto") == 0
    assert "resuming from step 3" in capsys.readouterr().out
    for name, origin in (("second", "another run's checkpoint of step 3"), ("third", "checkpoint.resume=first")):
        shutil.rmtree(tmp_path / "runs" / name / "checkpoints")
        assert train(name=name, checkpoint__resume="auto") == 2
        assert f"runs/{name}/ began from {origin} and holds no good checkpoint" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_starts_anew_and_says_so(tmp_path, capsys):
    assert train(name="it", train__max_steps="2") == 0
    shutil.rmtree(tmp_path / "runs" / "it" / "checkpoints")
    assert train(name="it", checkpoint__resume="auto") == 0
    assert "runs/it: no checkpoint to resume from; starting from the first step" in capsys.readouterr().out
    assert [row["step"] for row in metrics(tmp_path / "runs" / "it")] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_is_done_already_says_so(capsys):
    assert train(name="it") == 0
    assert train(name="more", checkpoint__resume="it", train__epochs="1") == 0
    assert "nothing left to train: train.epochs=1" in capsys.readouterr().out


def test_a_kill_between_the_two_names_of_a_checkpoint_does_not_lose_the_best(tmp_path, monkeypatch):
    """The next start takes a best.pt of a later step for one to come again, but an earlier one for the best so far."""
    monkeypatch.setattr("distalex.runs.writer.link_atomically", lambda *_: 1 / 0)
    assert train(name="it", train__epochs="1") == 1
    assert [path.name for path in (tmp_path / "runs" / "it" / "checkpoints").iterdir()] == ["best.pt"]
