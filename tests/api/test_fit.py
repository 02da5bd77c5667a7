"""distalex.fit: what a call means, what it leaves, and what it leaves alone."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support.runs import SMALL, metrics

import distalex
from distalex.config.loading import load_config

QUICK = {**SMALL, "train.epochs": 1, "train.max_steps": 2, "model.width": 0.25}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_importing_distalex_imports_nothing_else():
    program = "import sys, distalex; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules); print(sorted(distalex.__all__))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "'fit'" in done.stdout, done.stderr
    assert set(distalex.__all__) <= set(dir(distalex)) and all(getattr(distalex, name) for name in distalex.__all__)
    with pytest.raises(AttributeError, match="no attribute 'train_it'"):
        distalex.train_it  # noqa: B018


def test_a_run_is_that_of_the_command(launch):
    run = distalex.fit(None, QUICK, name="python", parallel="none")
    assert launch("train", *(f"--{key}={value}" for key, value in QUICK.items()), "--name=command", "--parallel=none").returncode == 0
    losses = [[(row["step"], row["loss"]) for row in metrics(Path("runs") / name)] for name in ("python", "command")]
    assert losses[0] == losses[1] and len(losses[0]) == 2
    assert (run.step, run.folder, run.name, repr(run)[:11]) == (2, Path("runs/python"), "python", "TrainedRun(")
    assert run.evaluation.top1 == metrics(run.folder, "eval")[-1]["top1"]
    assert run.values("loss") == ([1, 2], [loss for _, loss in losses[0]])
    assert {row["kind"] for row in run.metrics} >= {"train", "eval"}
    with pytest.raises(distalex.UserError, match=r"losss: no row of kind 'train'.*there is .*loss"):
        run.values("losss")


def test_values_are_pythons_and_paths_are_paths(photographs):
    section = {"train": {"max_steps": np.int64(1), "batch_size": torch.tensor(4)}, "data.stored_size": 72, "data.image_size": 64}
    small = {key: QUICK[key] for key in ("model.width", "model.fc6", "model.fc7", "log.wandb")}
    run = distalex.fit(photographs, {**section, **small}, runs_dir=Path("there"), config="paper/baseline", parallel="none")
    config = load_config(str(run.folder / "config.yaml"))
    assert (config.train.max_steps, config.train.batch_size, config.data.name, config.model.lrn) == (1, 4, "folder", True)
    assert run.folder.parent == Path("there")
    assert run.predict(photographs / "test" / "ant")[0].label in ("ant", "bee", "cat")


def test_a_config_is_taken_and_not_changed():
    config = load_config(None, QUICK)
    run = distalex.fit(config, {"seed": 3}, name="it")
    assert load_config(str(run.folder / "config.yaml")) == config.model_copy(update={"seed": 3, "name": "it"})
    assert config.seed == 0


def test_a_run_leaves_pytorch_and_signals_as_they_were():
    torch.set_num_threads(2)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    run = distalex.fit(None, {**QUICK, "train.deterministic": True, "data.loader": "torchvision", "data.workers": 1})
    assert run.predict([np.zeros((9, 9, 3), np.uint8)])
    for _ in distalex.images("digits", {"data.loader": "torchvision"}, batch_size=600):
        pass
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == drawn
    assert torch.get_num_threads() == 2 and not torch.are_deterministic_algorithms_enabled()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ and not torch.distributed.is_initialized()


def test_runs_follow_each_other_in_a_thread_and_after_a_mistake():
    runs = []
    with pytest.raises(distalex.UserError, match=r"optim.lr=-1 \(distalex.fit\)"):
        distalex.fit(None, {**QUICK, "optim.lr": -1})
    thread = threading.Thread(target=lambda: runs.extend(distalex.fit(None, QUICK, name=name) for name in ("one", "two")))
    thread.start()
    thread.join(60)
    assert [run.name for run in runs] == ["one", "two"]
    assert runs[0].values("loss") == runs[1].values("loss")


def test_ctrl_c_saves_and_returns_the_run():
    threading.Timer(2.0, signal.raise_signal, [signal.SIGINT]).start()
    started = time.monotonic()
    long = {**QUICK, "train.max_steps": 100_000, "train.epochs": 100_000, "train.evaluate_every": 100_000}
    run = distalex.fit(None, long, name="it")
    assert time.monotonic() - started < 30 and 0 < run.step < 100_000
    assert run.evaluation is None and "stopped" in repr(run)
    assert distalex.load(run).step == run.step


REFUSED = {
    "a name that is none": (("digit",), {}, "did you mean digits"),
    "an option that is none": (("digits", {"train.max_step": 2}), {}, r"train.max_step \(distalex.fit\): no such option"),
    "a keyword that is none": (("digits",), {"nme": "x"}, "nme .*did you mean name"),
    "text for a number": (("digits", {"train.max_steps": "x"}), {}, r"train.max_steps=x \(distalex.fit\)"),
    "options in the place of the config": (({"train.max_steps": 2},), {}, "give options second"),
    "a number as options": (("digits", 3), {}, "the second argument is a dict"),
    "a number": ((3,), {}, "3 is no config"),
    "two configs": (("digits",), {"config": "photos"}, "give one of them"),
    "too few processes": (("digits",), {"parallel": "model"}, r"from Python: fit\(…, processes=NUMBER\)"),
    "no processes": (("digits",), {"processes": 0}, "a number from 1"),
    "a run that is there": ((None, QUICK), {"name": "there"}, "there"),
    "data that is not there": (("digits", {"data.name": "folder", "data.root": "/nowhere"}), {"processes": 2}, "data.root=/nowhere"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_one_line(mistake):
    words, options, message = REFUSED[mistake]
    (Path("runs") / "there").mkdir(parents=True)
    (Path("runs") / "there" / "metrics.jsonl").touch()
    with pytest.raises(distalex.UserError, match=message) as refused:
        distalex.fit(*words, **options)
    assert "\n" not in str(refused.value)
    assert [path.name for path in Path("runs").iterdir()] == ["there"]


def test_two_processes_give_the_same_curve_and_the_same_object(capfd):
    options = {**QUICK, "train.precision": "fp32"}
    alone = distalex.fit(None, options, name="alone", parallel="none")
    columns = distalex.fit(None, options, name="columns", parallel="model", processes=2)
    assert columns.values("loss")[1] == pytest.approx(alone.values("loss")[1], abs=1e-5)
    assert columns.evaluation.confusion.sum() == alone.evaluation.confusion.sum() and columns.step == alone.step
    assert "2 cpu processes (--parallel=model)" in capfd.readouterr().out
    assert columns._repr_html_().startswith("<b>columns</b>") and distalex.draw_curves(alone, columns).startswith(b"\x89PNG")
    assert distalex.draw_curves("alone", split="columns") == distalex.draw_curves(distalex.load("alone"), split=columns)
    again = distalex.open_run("columns")
    assert (again.folder, again.step, again.values("loss")) == (columns.folder, columns.step, columns.values("loss"))
    with pytest.raises(distalex.UserError, match="nowhere: no such run"):
        distalex.draw_curves("nowhere")


def test_a_page_is_shown_in_place():
    run = distalex.fit(None, QUICK)
    page = run.report(images=0)
    assert page.path == run.folder / "report.html" and "<iframe srcdoc=" in page._repr_html_()
