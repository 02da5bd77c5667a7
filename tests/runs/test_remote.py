"""Copies of a run elsewhere."""

import os
import shutil
import threading
import time

import pytest
from support.runs import metrics, newest, options

from distalex.cli.main import main
from distalex.runs.remote import Remote


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("place", ["file", "memory"])
def test_a_run_goes_on_from_its_copy_on_another_machine(tmp_path, place, capsys):
    url = f"file://{tmp_path}/away" if place == "file" else "memory://away"
    words = ["train", *options(parallel="none", train__epochs="3", checkpoint__keep="2", checkpoint__every_steps="2")]
    assert main([*words, "--name=whole"]) == 0
    copied = [*words, "--name=it", "--checkpoint.resume=auto", f"--checkpoint.remote={url}"]
    assert main([*copied, "--train.max_steps=5"]) == 0
    shutil.rmtree(tmp_path / "runs" / "it")
    assert main(copied) == 0
    assert f"fetching step-00000005.pt from {url}/it" in capsys.readouterr().out
    whole, moved = ([(row["step"], row["loss"]) for row in metrics(tmp_path / "runs" / name)] for name in ("whole", "it"))
    assert whole == moved
    if place == "file":
        away = sorted(path.name for path in (tmp_path / "away" / "it" / "checkpoints").iterdir())
        assert away[0] == "best.pt"
        assert away[-1] == "step-00000009.pt"
        assert len(away) <= 3
        assert (tmp_path / "away" / "it" / "metrics.jsonl").read_text() == (tmp_path / "runs" / "it" / "metrics.jsonl").read_text()


def test_a_new_run_does_not_overwrite_the_copy_of_another(tmp_path, capsys):
    words = ["train", *options(name="it", parallel="none"), f"--checkpoint.remote=file://{tmp_path}/away"]
    assert main(words) == 0
    shutil.rmtree(tmp_path / "runs")
    before = sorted((tmp_path / "away" / "it" / "checkpoints").iterdir())
    assert main([*words, "--train.max_steps=1"]) == 2
    assert "holds a run; resume it with --checkpoint.resume=auto" in capsys.readouterr().err
    assert main([*words, "--checkpoint.resume=auto", "--optim.lr=0.5"]) == 2
    assert sorted((tmp_path / "away" / "it" / "checkpoints").iterdir()) == before


def test_a_slow_place_holds_no_step_up(tmp_path):
    """A thread that nobody waits for copies the newest checkpoint; what came meanwhile is passed over."""
    folder, said = tmp_path / "it", []
    (folder / "checkpoints").mkdir(parents=True)
    remote = Remote(f"file://{tmp_path}/away", "it", said.append)
    copying, put = threading.Event(), remote.system.put_file
    remote.system.put_file = lambda *arguments: (copying.wait(20), put(*arguments))
    for step in (1, 2, 3):
        (folder / "checkpoints" / f"step-{step:08d}.pt").write_bytes(b"x")
        started = time.monotonic()
        remote.push(folder)
        assert time.monotonic() - started < 5
    remote.wait(0.1)
    assert "was not copied within" in said[-1]
    copying.set()
    remote.wait(20)
    assert "step-00000003.pt" in os.listdir(tmp_path / "away" / "it" / "checkpoints")


def test_a_place_that_cannot_be_reached_is_told_before_work_and_one_that_goes_away_is_told_and_tried_again(tmp_path, capsys, monkeypatch):
    words = ["train", *options(name="it", parallel="none")]
    assert main([*words, "--checkpoint.remote=nowhere://bucket"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "checkpoint.remote=nowhere://bucket: cannot be reached" in line
    assert not (tmp_path / "runs").exists()
    away = tmp_path / "away"
    away.write_text("in the way")
    assert main([*words, f"--checkpoint.remote=file://{away}"]) == 0
    assert "copying failed" in capsys.readouterr().out
    assert newest(tmp_path / "runs" / "it")["progress"]["step"] == 6
