"""`bench paper`."""

import itertools
import json
import statistics
from typing import get_args

import pytest
import torch
from PIL import Image
from support.runs import metrics, write_cifar10

from distalex.bench import paper, paper_claims, paper_figure
from distalex.bench.options import Change
from distalex.bench.paper_claims import BASELINE, CLAIMS, FIGURE1
from distalex.cli.main import main
from distalex.config.loading import load_config


def test_every_claim_has_a_config_that_changes_its_baseline_in_one_thing():
    assert set(get_args(Change)) == set(CLAIMS)
    whole = load_config(f"paper/{BASELINE}", {}).model_dump()
    assert whole["train"]["epochs"] == 150
    for name in CLAIMS:
        changed = load_config(f"paper/{name}", {}).model_dump()
        sections = ("model", "data", "optim", "train")
        different = {
            (section, option) for section in sections for option in whole[section] if whole[section][option] != changed[section][option]
        }
        assert 1 <= len(different) <= 2, (name, different)
    relu, tanh = (load_config(f"paper/{name}", {}) for name in FIGURE1.values())
    assert (relu.model.activation, tanh.model.activation) == ("relu", "tanh")


def test_differences_are_of_runs_with_the_same_seed():
    baseline = [{"top1": top1, "train_top1": 99.0, "loss": 1.0} for top1 in (50.0, 60.0, 70.0)]
    changed = [{"top1": top1, "train_top1": 90.0, "loss": 1.5} for top1 in (49.0, 58.0, 67.0)]
    found = paper.compare_runs(baseline, changed)
    assert found["top1"] == {"differences": [-1.0, -2.0, -3.0], "mean": -2.0, "error": pytest.approx(1 / 3**0.5)}
    assert (found["train_top1"]["mean"], found["loss"]["mean"]) == (-9.0, 0.5)
    assert paper.paired([1.0]) == {"differences": [1.0], "mean": 1.0, "error": None}


@pytest.mark.parametrize(
    ("differences", "sign", "said"),
    [
        ([0.0, 0.0, 0.0], 1, "undecided"),
        ([-1.0, -2.0, -3.0], -1, "the paper's"),
        ([-1.0, -2.0, -3.0], 1, "the other"),
        ([1.0, 2.0, 3.0], -1, "the other"),
        ([-1.0, -2.0, 1.0], -1, "undecided"),
        ([-5.0], -1, "undecided"),
    ],
)
def test_a_direction_takes_two_standard_errors(differences, sign, said):
    assert paper_claims.direction(paper.paired(differences), sign) == said


def test_figure_1_counts_epochs_from_one():
    assert paper.first_epochs([20.0, 50.0, 49.0, 61.0]) == {"50": 2, "60": 4, "75": None}


def test_the_deviation_of_halves_is_that_over_all_of_them():
    shares = torch.tensor([0.1, 0.5, 0.7, 0.2, 0.9, 0.4])
    differences = []
    for half in itertools.combinations(range(6), 3):
        other = [place for place in range(6) if place not in half]
        differences.append(float(shares[list(half)].mean() - shares[other].mean()))
    assert paper.deviation_of_halves(shares) == pytest.approx(statistics.pstdev(differences))


@pytest.mark.slow(15)
def test_claims_are_tried_and_an_interrupted_benchmark_goes_on(tmp_path, monkeypatch, capsys, warm_programs):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    for module in (paper, paper_figure):
        monkeypatch.setattr(module, "CLAIMS", {"no_dropout": CLAIMS["no_dropout"]})
    write_cifar10(tmp_path / "cifar", 200)
    words = ["bench", "paper", f"--root={tmp_path / 'cifar'}", f"--out={tmp_path / 'out'}", "--repeats=1"]
    assert main([*words, "--epochs=3"]) == 0
    (written,) = (tmp_path / "out").glob("paper-*.json")
    result = json.loads(written.read_text())
    baseline, changed = result["runs"]["baseline"][0], result["runs"]["no_dropout"][0]
    assert result["ablations"]["no_dropout"]["top1"]["differences"] == [changed["top1"] - baseline["top1"]]
    assert len(baseline["train_curve"]) == 3
    assert list(baseline["colour"]["by_epoch"])[-1] == "3"
    assert all(0.3 < share < 1 for shares in baseline["colour"]["by_epoch"].values() for share in shares)  # 2/3 of random filters
    assert result["ten_views"]["mean"] == pytest.approx(baseline["ten_views"]["top1"] - baseline["top1"])
    assert Image.open(written.with_suffix(".png")).size[0] > 1000
    assert "no_dropout" in capsys.readouterr().out
    written.unlink()
    assert main([*words, "--epochs=3"]) == 0
    (run,) = (tmp_path / "out" / "paper-runs").glob("baseline-*")
    starts = [json.loads(line)["step"] for line in (run / "starts.jsonl").read_text().splitlines()]
    assert starts == [0, metrics(run)[-1]["step"]]  # not trained again
    (again,) = (tmp_path / "out").glob("paper-*.json")
    resumed = json.loads(again.read_text())
    assert resumed["runs"] == result["runs"]
    assert (result["runs_begun_before"], resumed["runs_begun_before"]) == (0, 4)
    assert "4 runs begun before" in capsys.readouterr().out
    assert main([*words, "--only=no_dropout", "--fraction=1", "--epochs=2"]) == 0
    assert "not tried" in capsys.readouterr().out
    other = json.loads(max((tmp_path / "out").glob("paper-*.json")).read_text())
    assert [len(runs[0]["train_curve"]) for runs in other["runs"].values()] == [2, 2]
    assert other["runs"].keys() == {"baseline", "no_dropout"}
