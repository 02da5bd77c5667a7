"""`plan` and the dry run."""

import json
import re
import time

import pytest
from support.plan import PAPER
from support.runs import REPOSITORY, options, small

from distalex.bench.options import ParallelOptions
from distalex.bench.parallel import measure_mode
from distalex.cli.main import main
from distalex.config.config import Config
from distalex.config.data import DataConfig
from distalex.config.loading import load_config
from distalex.errors import UserError
from distalex.plan.cost import rank
from distalex.plan.curves import curves
from distalex.plan.dry_run import describe_layout, name_ranks
from distalex.plan.machine import described
from distalex.plan.measure import this_machine


def test_curves_reach_1024_devices():
    found = curves(PAPER, 1000, described("a100", "bf16"), 4096, per_device=False)
    assert list(found["data"]) == [2**power for power in range(11)]
    assert list(found["model"]) == [2]
    assert max(found["owt"]) == 512  # 1,024 devices have no thousand classes to divide


def test_a_dry_run_of_128_prints_and_creates_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(parallel="hybrid", train__batch_size="128"), "--dry_run", "--world_size=128"]) == 0
    text = capsys.readouterr().out
    for words in ("128 processes: mesh (64, 2)", "0, 2, 4, … 126", "0–47 of 96", "parameters", "sent a step"):
        assert words in text
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_thousands_is_quick():
    start = time.perf_counter()
    data = describe_layout(load_config(None, {"train.batch_size": "4096"}), 4096, 1000)
    owt = describe_layout(load_config(None, {"parallel": "owt", "train.batch_size": "4096"}), 1000, 1000)
    assert time.perf_counter() - start < 10
    assert "0–4095" in data and "4 each of 4,096" in owt


def test_classes_are_those_of_the_data_and_an_assumption_is_said(capsys, photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, root, says in (
        ("cifar100", None, "100 classes:"),
        ("folder", str(photographs), "3 classes:"),
        ("imagenet", str(tmp_path / "nowhere"), "1,000 classes:"),
        ("folder", str(tmp_path / "nowhere"), "1,000 classes (assumed"),
    ):
        data = {"data__name": name, **({"data__root": root} if root else {})}
        assert main(["train", *options(**data), "--dry_run", "--world_size=2"]) == 0
        assert says in capsys.readouterr().out


def test_ranks_are_named_shortly():
    assert name_ranks([0]) == "0"
    assert name_ranks([0, 1]) == "0, 1"
    assert name_ranks(range(64)) == "0–63"
    assert name_ranks(range(1, 128, 2)) == "1, 3, 5, … 127"


def test_the_described_cluster_of_the_docs_is_read_from_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (described_there,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "scaling.md").read_text(), re.DOTALL)
    (tmp_path / "lab.yaml").write_text(described_there)
    typed = ["--machine=lab.yaml", "--classes=1000", "--out=found.json", "--batch_sizes=256", "--devices_per_node=4"]
    assert main(["plan", *typed]) == 0
    assert "machine lab" in capsys.readouterr().out
    predictions = json.loads((tmp_path / "found.json").read_text())["predictions"]
    assert {(one["parallel"], one["world_size"]) for one in predictions} == {
        ("none", 1),
        ("data", 4),
        ("fsdp", 4),
        ("hybrid", 4),
        ("owt", 4),
    }
    assert predictions[0]["images_per_second"] == max(one["images_per_second"] for one in predictions)


PLAN_MISTAKES = [
    (["--machine=a1000"], ["machine=a1000", "did you mean a100"]),
    (["--machine=bad.yaml"], ["bad.yaml, line 2", "did you mean memory"]),
    (["--machine=short.yaml"], ["fp32_flops"]),
    (["--batch_sizes=0"], ["batch_sizes=0", "greater than or equal to 1"]),
    (["--batch_sizes="], ["batch_sizes"]),
    (["--machine=a100", "--batch_sizes=4", "--world_size=8", "--config=digts"], ["digts", "did you mean digits"]),
    (["--world_size=0"], ["world_size=0"]),
    (["--world_size=5000"], ["world_size=5000", "describe the cluster"]),
    (["--curve=x.png"], ["curve", "--machine=a100"]),
    (["--devices_per_node=4"], ["devices_per_node", "--machine=a100"]),
    (["--machine=a100", "--remeasure"], ["remeasure", "machine=this"]),
    (["--machine=a100", "--precision=fp8"], ["precision=fp8", "bf16"]),
    (["--machine=a100", "--out=lab/../../nowhere/x/"], ["out=", "cannot be written"]),
    (["--machne=a100"], ["--machne", "did you mean machine"]),
    (["a100"], ["a100", "unexpected argument"]),
]


@pytest.mark.parametrize(("typed", "words"), PLAN_MISTAKES, ids=[" ".join(typed) for typed, _ in PLAN_MISTAKES])
def test_a_mistake_is_one_line(typed, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("name: lab\nmemry: 3\n")
    (tmp_path / "short.yaml").write_text("name: lab\n")
    (tmp_path / "lab").write_text("not a folder")
    assert main(["plan", *typed]) == 2
    error = capsys.readouterr().err
    assert error.startswith("distalex plan: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error


DRY_MISTAKES = [
    (["--world_size=3"], ["world_size=3", "--dry_run"]),
    (["--dry_run=x"], ["dry_run=x", "boolean"]),
    (["--dry_run", "--world_size=0"], ["world_size=0"]),
    (["--dry_run", "--world_size=3", "--parallel=model"], ["parallel=model needs 2 processes"]),
    (["--dry_run", "--world_size=2", "--parallel=auto"], ["parallel=auto", "distalex.plan"]),
    (["--dry_run", "--world_size=64", "--parallel=owt"], ["parallel=owt", "64 processes"]),
]


@pytest.mark.parametrize(("typed", "words"), DRY_MISTAKES, ids=[" ".join(typed) for typed, _ in DRY_MISTAKES])
def test_a_mistake_of_a_dry_run_is_one_line(typed, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(), *typed]) == 2
    error = capsys.readouterr().err
    assert error.startswith("distalex train: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error
    assert list(tmp_path.iterdir()) == []


def test_measuring_that_fails_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(UserError, match="name a mode"):
        this_machine(small(), 4, 2, "cpu")


def test_the_docs_curve_is_what_the_model_says():
    documented = json.loads((REPOSITORY / "docs" / "benchmarks" / "curve-a100.json").read_text())
    training = load_config("alexnet_paper", {"train.precision": "bf16"})
    for batch, per_device, name in ((4096, False, "batch_4096"), (512, True, "batch_512_per_device")):
        found = curves(training, 1000, described("a100", "bf16"), batch, per_device)
        rates = {mode: {str(devices): round(one.images_per_second) for devices, one in line.items()} for mode, line in found.items()}
        assert rates == documented[name]


@pytest.mark.alone
@pytest.mark.slow(40)
def test_the_predicted_ranking_of_this_machine_is_the_measured_one(tmp_path, monkeypatch, warm_programs):
    """Small images and batches with all the parameters, so that columns and replicas lie far apart on any machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    batch, modes = 16, ("data", "model")
    asked = ParallelOptions(image_size=64, precision="fp32", steps=4, device="cpu")
    rates = {mode: measure_mode(asked, mode, 2, batch)["images_per_second"] for mode in modes}
    training = Config(data=DataConfig(name="synthetic", image_size=64, synthetic_classes=1000))
    predictions = rank(training, 1000, this_machine(training, 1000, 2, "cpu"), 2, (batch,), modes)
    assert [prediction.parallel for prediction in predictions] == sorted(modes, key=rates.__getitem__, reverse=True), rates
