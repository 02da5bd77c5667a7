"""`bench faults` and `bench soak`: struck and watched runs."""

import json
import os
import subprocess
import sys

import pytest
from support.runs import metrics, options

from distalex.bench.faults_inside import FAULTS


@pytest.mark.slow(60)
def test_struck_runs_equal_an_undisturbed_one(tmp_path, launch):
    done = launch("bench", "faults", "--kills=3", "--modes=none", f"--out={tmp_path}/out", "--seed=1")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("faults-*.json")
    found = json.loads(path.read_text())
    assert sum(one["count"] for one in found["faults"].values()) == 3
    assert found["runs"] == [{"parallel": "none", "problems": []}]
    assert "1 of 1 runs equal" in done.stdout


@pytest.mark.slow(40)
def test_faults_from_inside_and_changed_data_lose_nothing(tmp_path, launch):
    done = launch("bench", "faults", "--kills=3", "--only=NaN,while writing,data", "--modes=none", f"--out={tmp_path}/out", "--seed=2")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("faults-*.json")
    found = json.loads(path.read_text())
    assert {name.partition(":")[0] for name in found["faults"]} == {"inside", "data"}
    assert not found["failed"]


@pytest.mark.slow(30)
def test_a_rollback_waits_for_a_slow_disk_on_all_ranks(tmp_path):
    """Rank 0 writes the checkpoint of the start for 12 s; rank 1 has NaN in a layer in step 3; time-out of 4 s."""
    faults = [{"kind": "slow disk", "rank": 0, "at": 3}, {"kind": "nan", "rank": 1, "at": 12}]
    words = options(name="it", train__on_nonfinite="rollback", train__timeout="4")
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    environment = {**os.environ, FAULTS: json.dumps(faults), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, "distalex.bench.faults_inside", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "loss or gradients of step 3 are not finite: rolled back to step 0" in done.stdout
    assert [row["step"] for row in metrics(tmp_path / "runs" / "it")] == [1, 2, 3, 4, 5, 6]


def test_differences_between_runs_are_found(tmp_path):
    from distalex.bench.faults_report import differences

    rows = [{"kind": "train", "step": step, "epoch": 1, "loss": 1.0 / step, "top1": 0.0, "lr": 0.1} for step in (1, 2, 3)]
    for name, written in (("whole", rows), ("twice", [*rows, rows[-1]]), ("other", [*rows[:2], {**rows[2], "loss": 9.0}])):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    (tmp_path / "other" / "checkpoints" / ".step-00000003.pt.7.partial").touch()
    assert differences(tmp_path / "whole", tmp_path / "whole") == []
    assert differences(tmp_path / "whole", tmp_path / "twice")[0] == "a step occurs twice in metrics.jsonl"
    found = " ".join(differences(tmp_path / "whole", tmp_path / "other"))
    for words in ("metrics.jsonl differs", "step", "left behind: .step-00000003"):
        assert words in found


@pytest.mark.slow(25)
def test_a_long_run_is_watched(tmp_path, launch):
    done = launch("bench", "soak", "--minutes=0.35", f"--out={tmp_path}/out")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("soak-*.json")
    found = json.loads(path.read_text())
    assert found["steps"] > 10
    assert found["measures"]["threads"]["most"] >= 1
    assert found["measures"]["memory"]["least"] > 50
