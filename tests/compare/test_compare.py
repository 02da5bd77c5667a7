"""`compare`: the first step and parameter where two runs differ."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.runs import metrics, newest, options

from distalex.cli.main import main
from distalex.compare.wording import ROWS
from distalex.runs.checkpoint import save


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three runs of six steps with checkpoints at 3 and 6: `first`, `again` with the same seed and `seeded` with another."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTALEX_DATA", str(tmp_path_factory.getbasetemp() / "data"))
        for name, seed in (("first", "0"), ("again", "0"), ("seeded", "1")):
            assert main(["train", *options(name=name, seed=seed, runs_dir=str(folder), train__ema="0.9", device="cpu")]) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """A copy of the three that a test may edit, as runs/ of the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def compare(capsys):
    def run(*typed):
        """The exit status, every line printed, and the last one of either output."""
        capsys.readouterr()
        status = main(["compare", *typed])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert printed.err.count("\n") == (1 if status == 2 else 0)
        return status, printed.out, (printed.err or printed.out).splitlines()[-1]

    return run


def edit_rows(run: Path, change: Callable[[dict], dict | None]) -> None:
    """Rewrite metrics.jsonl row by row; None drops a row."""
    rows = [change(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if row is not None))


def edit_newest(run: Path, change: Callable[[dict], object]) -> None:
    state = newest(run)
    change(state)
    save(state, max((run / "checkpoints").glob("step-*.pt")))


def add_to_loss(amount, kind="train", since=1):
    return lambda row: {**row, "loss": row["loss"] + amount} if row["kind"] == kind and row["step"] >= since else row


def test_runs_of_one_seed_are_the_same_to_the_bit(runs, compare):
    status, out, last = compare("first", "again", "--tolerance=0")
    assert status == 0
    assert last == (
        "same within 0: 6 steps (largest loss difference 0), 2 evaluations (largest loss difference 0), "
        "16 parameters at step 6 (largest 0, conv1.weight)"
    )
    assert "options that differ: none" in out
    assert "optimizer: 16 tensors, largest difference 0" in out
    assert "average: 16 tensors, largest difference 0" in out


def test_another_seed_differs_at_the_first_step_and_parameter(runs, compare):
    status, out, last = compare("first", "seeded")
    assert status == 1
    ours, theirs = (metrics(runs / name)[0]["loss"] for name in ("first", "seeded"))
    assert last.startswith(f"runs differ, first at step 1, loss {ours:.7g} / {theirs:.7g} (difference ")
    assert "; first parameter conv1.weight at step 6, [" in last
    assert "options that differ: seed 0 / 1" in out


def test_the_first_step_that_differs_is_named(runs, compare):
    edit_rows(runs / "again", add_to_loss(0.001, since=4))
    status, _, last = compare("runs/first", "runs/again")
    assert status == 1
    assert last.startswith("runs differ, first at step 4, loss ")
    assert last.endswith("(difference 1.0e-03)")


def test_rounding_that_grows_and_coarse_arithmetic_are_explained_and_a_jump_is_not(runs, compare):
    copy = (runs / "again" / "metrics.jsonl").read_text()
    for step in range(1, 7):
        edit_rows(runs / "again", add_to_loss(2e-7 * 4 ** (step - 1) * (0.75 if step > 1 else 1), since=step))
    assert "differ by at most" in (out := compare("first", "again")[1]) and "rounding grows" in out
    (runs / "again" / "metrics.jsonl").write_text(copy)
    edit_rows(runs / "again", add_to_loss(0.1, since=4))
    assert "rounding" not in compare("first", "again")[1]
    config = runs / "again" / "config.yaml"
    config.write_text(config.read_text().replace("  precision: fp32", "  precision: bf16"))
    assert "train.precision is bf16 in a run" in compare("first", "again")[1]
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    assert "bf16 in a run" not in compare("first", "again")[1]


def test_an_evaluation_that_differs_is_named(runs, compare):
    edit_rows(runs / "again", add_to_loss(0.001, "eval"))
    status, _, last = compare("first", "again")
    assert status == 1
    assert "first at evaluation at step 3, loss" in last


@pytest.mark.parametrize(("tolerance", "expected"), [("1e-5", 0), ("1e-6", 1), ("0", 1)])
def test_the_tolerance_decides(runs, compare, tolerance, expected):
    edit_rows(runs / "again", add_to_loss(5e-6))
    assert compare("first", "again", f"--tolerance={tolerance}")[0] == expected


def test_a_learning_rate_is_compared_relative_to_itself(runs, compare):
    edit_rows(runs / "again", lambda row: {**row, "lr": row["lr"] * 1.0001} if row["kind"] == "train" else row)
    status, _, last = compare("first", "again")
    assert (status, "first at step 1, lr 0.01 / 0.010001 (difference 1.0e-04)" in last) == (1, True)
    assert compare("first", "again", "--tolerance=1e-3")[0] == 0


def test_one_image_taken_for_another_class_parts(runs, compare):
    edit_rows(runs / "again", lambda row: {**row, "top1": row["top1"] + 10} if row["kind"] == "eval" else row)
    status, _, last = compare("first", "again")
    assert (status, "evaluation at step 3, top1 " in last and "(difference 1.0e-01)" in last) == (1, True)


def test_null_equals_null_and_no_number(runs, compare):
    edit_rows(runs / "again", lambda row: {**row, "loss": None} if row["step"] == 2 else row)
    status, _, last = compare("first", "again")
    assert status == 1
    assert "first at step 2, loss " in last
    assert "/ null (difference infinite)" in last
    edit_rows(runs / "first", lambda row: {**row, "loss": None} if row["step"] == 2 else row)
    assert compare("first", "again")[0] == 0


def test_the_first_parameter_that_differs_is_named_in_network_order(runs, compare):
    def change(state):
        state["model"]["fc8.bias"][1] += 0.5
        state["model"]["fc6.weight"][7, 3] += 0.25

    edit_newest(runs / "again", change)
    status, out, last = compare("first", "again")
    assert status == 1
    assert last.startswith("runs differ, first parameter fc6.weight at step 6, [7, 3] ")
    assert last.endswith("(difference 2.5e-01)")
    assert sum("  < " in line for line in out.splitlines()) == 2
    assert compare("first", "again", "--weights_tolerance=0.4")[2].startswith("runs differ, first parameter fc8.bias")
    assert compare("first", "again", "--weights_tolerance=0.6")[2].startswith("same within 1e-05 (weights 0.6): 6 steps")


def test_the_optimizers_state_and_the_average_count(runs, compare):
    edit_newest(runs / "again", lambda state: state["optimizer"]["conv2.bias"]["momentum_buffer"].add_(1))
    assert "first parameter optimizer conv2.bias momentum_buffer at step 6" in compare("first", "again")[2]
    edit_newest(runs / "again", lambda state: state["average"]["conv5.bias"].add_(1))
    assert "first parameter average conv5.bias at step 6" in compare("first", "again")[2]


def test_a_tensor_that_is_missing_or_has_another_shape_is_named(runs, compare):
    edit_newest(runs / "again", lambda state: state["model"].update({"fc7.bias": torch.zeros(5)}))
    assert "first parameter fc7.bias at step 6, shape (32,) / (5,) (difference infinite)" in compare("first", "again")[2]
    edit_newest(runs / "again", lambda state: state["model"].pop("conv4.weight"))
    assert "first parameter conv4.weight at step 6, only in the run " in compare("first", "again")[2]
    assert "first parameter conv4.weight at step 6, only in the other " in compare("again", "first")[2]


def test_a_weight_that_is_not_a_number_differs_unless_both_are(runs, compare):
    def spoil(state):
        state["model"]["conv3.bias"][2] = float("nan")
        state["model"]["conv3.bias"][3] = float("inf")

    edit_newest(runs / "again", spoil)
    assert "first parameter conv3.bias at step 6, [2] " in compare("first", "again")[2]
    edit_newest(runs / "first", spoil)
    assert compare("first", "again")[0] == 0


def test_steps_that_only_one_run_has_are_named_and_are_no_difference(runs, compare):
    edit_rows(runs / "again", lambda row: row if row["step"] in (1, 2, 4, 6) else None)
    status, out, last = compare("first", "again")
    assert status == 0
    assert "only in first: 2 steps (steps 3 to 5)" in out
    assert "only in first: 1 evaluation (step 3)" in out
    assert last.startswith("same within 1e-05: 4 steps")


def test_the_newest_checkpoint_step_that_both_have_is_compared(runs, compare):
    (runs / "again" / "checkpoints" / "step-00000006.pt").unlink()
    assert compare("first", "again")[2].endswith("16 parameters at step 3 (largest 0, conv1.weight)")


def test_runs_without_checkpoints_compare_their_curves(runs, compare):
    shutil.rmtree(runs / "again" / "checkpoints")
    status, out, last = compare("first", "again")
    assert status == 0
    assert "weights are not compared: no checkpoint of a step in common" in out
    assert "again: steps 1 to 6 in 6 rows, no checkpoint" in out
    assert last.endswith("no weights")


def test_a_checkpoint_is_compared_with_the_run_up_to_its_step(runs, compare):
    edit_rows(runs / "again", add_to_loss(1, since=4))
    status, _, last = compare("first", "runs/again/checkpoints/step-00000003.pt")
    assert (status, last.startswith("same within 1e-05: 3 steps")) == (0, True)
    shutil.copy(runs / "again" / "checkpoints" / "step-00000006.pt", "alone.pt")
    status, out, last = compare("alone.pt", "first")
    assert (status, last) == (0, "same within 1e-05: 0 steps, 0 evaluations, 16 parameters at step 6 (largest 0, conv1.weight)")
    assert "steps are not compared" in out


def test_a_damaged_checkpoint_is_refused(runs, compare):
    path = runs / "again" / "checkpoints" / "step-00000006.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    status, out, last = compare("first", "again")
    assert (status, out) == (2, "")
    assert "step-00000006.pt: damaged" in last


def test_runs_with_no_step_in_common_are_refused(runs, compare):
    edit_rows(runs / "again", lambda row: {**row, "step": row["step"] + 100})
    shutil.rmtree(runs / "again" / "checkpoints")
    status, _, last = compare("first", "again")
    assert status == 2
    assert "again: steps 101 to 106 in 6 rows, no checkpoint: no step in common" in last


@pytest.mark.parametrize("line", ["[1]", '{"kind": "train"}', '{"kind": ["train"], "step": 1}', "3"])
def test_metrics_that_are_none_are_refused(runs, compare, line):
    (runs / "again" / "metrics.jsonl").write_text(line + "\n")
    status, _, last = compare("first", "again")
    assert status == 2
    assert "metrics.jsonl: " in last
    assert "is not a row of metrics" in last


def test_a_run_of_a_version_with_other_options_is_compared(runs, compare):
    path = runs / "again" / "config.yaml"
    path.write_text(path.read_text().replace("  nesterov: false\n", "  speed: [3, 4]\n"))
    status, out, _ = compare("first", "again")
    assert status == 0
    assert "options that differ: optim.nesterov false / absent; optim.speed absent / 3,4" in out


@pytest.mark.parametrize("differs_at", [None, 1, 500, 1000])
def test_a_long_table_is_cut_around_the_first_step_that_differs(tmp_path, compare, differs_at):
    for name in ("one", "two"):
        rows = [{"kind": "train", "step": step, "loss": 2.0, "top1": 5.0, "lr": 0.1} for step in range(1, 1001)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if differs_at:
        edit_rows(tmp_path / "two", add_to_loss(1, since=differs_at))
    status, out, _ = compare("one", "two", f"--runs_dir={tmp_path}")
    assert status == (1 if differs_at else 0)
    shown = [int(line.split()[0]) for line in out.splitlines() if line.split()[0].isdigit()]
    assert len(shown) == ROWS
    assert differs_at in shown if differs_at else (shown[0], shown[-1]) == (1, 1000)
