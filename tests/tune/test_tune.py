"""`tune lr` and `tune batch`."""

import json

import numpy as np
import pytest
from support.runs import options

from distalex.cli.main import main
from distalex.errors import UserError
from distalex.tune.batch import Trial, largest_of
from distalex.tune.rate import Sweep, suggest

SMALL = {"data__augment": "none", "model__dropout": "0"}


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def typed(**changes):
    return [option for option in options(**{**SMALL, **changes}) if not option.startswith(("--log", "--train.epochs"))]


def test_a_suggested_rate_lies_below_the_least_loss_and_far_above_the_flat_start():
    rates = np.geomspace(1e-6, 1, 100)
    losses = 2.3 - 1.5 / (1 + (1e-3 / rates) ** 2) + np.where(rates > 0.05, (rates / 0.05) ** 3, 0.0)
    assert 1e-3 < suggest(Sweep(rates.tolist(), losses.tolist())) < 0.05


def test_a_loss_that_never_falls_gives_no_rate():
    with pytest.raises(UserError, match="the loss does not fall between rates of 1e-6 and 1"):
        suggest(Sweep(np.geomspace(1e-6, 1, 50).tolist(), [2.3] * 50))


@pytest.mark.slow(10)
def test_the_trial_of_rates_is_the_same_on_two_processes_and_leaves_only_what_was_asked_for(tmp_path, launch):
    both = ["--config=digits", "--train.precision=fp32", "--train.threads=1", "--out=rates.json", "--steps=300", "--most=0.01"]
    both += ["--model.width=0.25", "--model.fc6=64", "--model.fc7=64"]
    assert main(["tune", "lr", "--parallel=none", *both]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr.png", "rates.json"]
    alone = json.loads((tmp_path / "rates.json").read_text())
    done = launch("tune", "lr", "--parallel=data", *both, processes=2)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "rates.json").read_text())
    assert two["losses"][:20] == pytest.approx(alone["losses"][:20], abs=1e-5)  # sums in another order
    assert done.stdout.rstrip().splitlines()[-1].startswith("suggested: --optim.lr=")


def test_batches_grow_until_the_time_is_over(tmp_path, capsys):
    assert main(["tune", "batch", *typed(parallel="none"), "--most=32", "--out=batches.json"]) == 0
    found = json.loads((tmp_path / "batches.json").read_text())
    assert [trial["batch"] for trial in found["trials"]] == [8, 16, 32]
    assert all(trial["memory"] > trial["planned"] > 0 for trial in found["trials"])
    said = capsys.readouterr().out
    assert "largest that fits into" in said and "--train.batch_size=" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch.png", "batches.json"]


def test_the_largest_batch_lies_on_the_line_through_the_memory_of_those_tried():
    trials = [Trial(size, 1000 + 10 * size, 0, 1.0) for size in (8, 16, 32, 64)]
    assert largest_of(trials, None, 9005, 10_000, False) == (800, False)
    assert largest_of(trials, 80, 9000, 10_000, True) == (64, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune"], "WHAT is missing: one of lr, batch"),
        (["tune", "lr", "--most=1e-6"], "most=1e-6: ten times least=1e-5"),
        (["tune", "lr", "--save=lr.doc"], "save=lr.doc: unknown extension"),
        (["tune", "lr", "nowhere"], "nowhere: unexpected argument"),
    ],
)
def test_mistakes_are_refused_in_a_line(capsys, words, said):
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
