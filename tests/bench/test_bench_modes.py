"""`bench modes`: every --parallel beside one process."""

import json
import re

import pytest
import torch
from support.bench import assert_refused
from support.runs import REPOSITORY

from distalex.bench.modes import choose_runs, report
from distalex.bench.network_modes import Network
from distalex.bench.options import ModesOptions
from distalex.cli.main import main
from distalex.errors import UserError

CPU, COLUMNS = torch.device("cpu"), Network("paper", 2, True)


@pytest.mark.slow
def test_losses_weights_and_bytes_of_each_mode_are_found(tmp_path, capsys, warm_programs):
    assert main(["bench", "modes", "--modes=model,hybrid", "--epochs=1", "--seed=3", f"--out={tmp_path}"]) == 0
    (path,) = tmp_path.glob("modes-*.json")
    result = json.loads(path.read_text())
    assert result["failed"] == []
    assert "--modes=model,hybrid --processes=2 --precision=fp32 --device=cpu --lr=0.01 --epochs=1 --seed=3" in result["command"]
    alone, *others = result["runs"]
    assert (alone["parallel"], alone["processes"], len(alone["losses"]), result["steps"]) == ("none", 1, 3, 3)
    assert [(run["parallel"], run["processes"]) for run in others] == [("hybrid", 4), ("model", 2)]
    for run in others:
        found = [abs(loss - other) / other for loss, other in zip(run["losses"], alone["losses"], strict=True)]
        assert run["loss_difference"] == max(found) < 1e-5
        assert 0 < run["weight_difference"] < 1e-5
    assert others[1]["comm_bytes"] == sum(others[1]["comm_bytes_by"][layer] for layer in ("conv3", "fc6", "fc7", "fc8"))
    assert "losses of the first 3 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_a_mode_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys, warm_programs):
    page = (REPOSITORY / "docs" / "networks.md").read_text()
    (tmp_path / "net.py").write_text(re.search(r"```python\n# net.py\n(.*?)```", page, re.DOTALL)[1])
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nowhere")  # no two processes find each other
    assert main(["bench", "modes", f"--network={tmp_path}/net.py:build", "--epochs=1", "--modes=data", f"--out={tmp_path}"]) == 1
    (path,) = tmp_path.glob("modes-*.json")
    result = json.loads(path.read_text())
    assert [run["parallel"] for run in result["runs"]] == ["none"]
    assert [(run["parallel"], run["processes"]) for run in result["failed"]] == [("data", 2)]
    assert "data, 2 processes: failed" in capsys.readouterr().out


def test_a_mode_takes_the_numbers_of_processes_that_it_has(capsys):
    chosen = choose_runs(ModesOptions(processes=(2, 3)), COLUMNS, CPU)
    assert chosen == [("data", 2), ("data", 3), ("fsdp", 2), ("fsdp", 3), ("hybrid", 4), ("model", 2), ("owt", 2), ("owt", 3)]
    assert "hybrid with 4 processes, as 2 or 3 cannot divide the network" in capsys.readouterr().out


def test_modes_that_a_network_has_not_are_left_out_or_refused(capsys):
    whole = Network("net.py:build", 1, False)
    assert choose_runs(ModesOptions(), whole, CPU) == [("data", 2), ("fsdp", 2)]
    assert "without model: modes=model: net.py:build has no columns" in capsys.readouterr().out
    with pytest.raises(UserError, match="no methods convolve and classify"):
        choose_runs(ModesOptions(modes=("owt",)), whole, CPU)


def test_processes_that_would_share_a_gpu_are_not_sharded_unasked(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert ("fsdp", 2) not in choose_runs(ModesOptions(), COLUMNS, torch.device("cuda"))
    assert "use --modes=fsdp to try it" in capsys.readouterr().out
    assert choose_runs(ModesOptions(modes=("fsdp",)), COLUMNS, torch.device("cuda")) == [("fsdp", 2)]


def test_the_table_shows_one_process_first():
    run = {"parallel": "none", "processes": 1, "losses": [1.5, 1.25], "loss_difference": 0.0, "weight_difference": 0.0, "comm_bytes": 0}
    other = {**run, "parallel": "data", "processes": 2, "loss_difference": 2e-7, "weight_difference": 3e-8, "comm_bytes": 2_000_000}
    lines = report([run, other]).splitlines()
    assert lines[1] == "2 steps; losses relative to one process's, weights absolute"
    assert lines[3].split() == ["none", "1", "1.5000000", "1.2500000", "0"]
    assert lines[4].split() == ["data", "2", "1.5000000", "1.2500000", "2.0e-07", "3.0e-08", "2.0", "MB"]


MISTAKES = {
    "--network=quark": "network=quark: must be paper, FILE.py:FUNCTION or torchvision:NAME",
    "--network=missing.py:build": "missing.py",
    "--network=torchvision:resnet18 --modes=model": "torchvision:resnet18 has no columns",
    "--processes=1": "processes=1",
    "--processes=25": "processes=25",
    "--processes=": "processes",
    "--lr=0": "lr=0",
    "--batch=8": "--batch (command line): no such option",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line_before_anything_starts(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_refused(["modes", *typed.split()], MISTAKES[typed], capsys)
    assert list(tmp_path.iterdir()) == []
