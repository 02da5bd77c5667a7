"""`bench lrn`, `linear`, `augment`, `plain`, `accuracy` and `all`."""

import itertools
import json
import shlex

import pytest
import torch
from PIL import Image
from support.bench import assert_refused
from support.runs import write_cifar10

from distalex.bench import accuracy, augment
from distalex.bench import all as every
from distalex.bench.options import AccuracyOptions, FaultsOptions, ParallelOptions
from distalex.bench.peer import Images
from distalex.bench.results import _command
from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.config.loading import load_config
from distalex.data.splits import open_sources


def test_lrn_is_measured_at_every_size_and_precision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "lrn", "--batch=2", "--repeats=1", "--device=cpu"]) == 0
    (path,) = tmp_path.glob("bench/lrn-*.json")
    result = json.loads(path.read_text())
    assert [(tuple(row["shape"][1:3]), row["precision"]) for row in result["rows"]] == list(
        itertools.product(((48, 55), (96, 55), (256, 27)), ("fp32", "bf16"))
    )
    assert all(row["ratio"]["median"] > 0 and row["shape"][0] == 2 for row in result["rows"])


def test_every_product_of_fc6_is_measured_beside_its_arithmetic_and_its_memory(tmp_path, capsys):
    assert main(["bench", "linear", "--batches=1,8", "--repeats=1", f"--out={tmp_path}"]) == 0
    (path,) = tmp_path.glob("linear-*.json")
    result = json.loads(path.read_text())
    small, large = (next(row for row in result["rows"] if row["batch"] == batch) for batch in (1, 8))
    assert large["arithmetic_ms"] == pytest.approx(8 * small["arithmetic_ms"])
    assert large["memory_ms"] == small["memory_ms"] == pytest.approx(4 * 9216 * 4096 / 1e6 / result["memory_gb_per_second"])
    precisions = len(result["matmul_peak_gflops"])
    assert len(result["rows"]) == 6 * precisions + 2 * (precisions - 1)  # a cast each way for bf16
    assert "weight gradient" in capsys.readouterr().out


def test_every_augmentation_is_measured_at_both_sizes(tmp_path, capsys):
    threads = torch.get_num_threads()
    assert main(["bench", "augment", "--batch=2", "--repeats=1", "--device=cpu", f"--out={tmp_path}"]) == 0
    (path,) = tmp_path.glob("augment-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [(row["stored"], row["size"], row["case"]) for row in rows] == [
        (*sizes, case) for sizes in augment.SIZES for case in augment.CASES
    ]
    assert all(row["images_per_second"]["min"] > 0 for row in rows)
    assert "256 → 224" in capsys.readouterr().out
    assert torch.get_num_threads() == threads


@pytest.mark.slow(45)
def test_the_tutorials_job_is_measured_here_and_in_ordinary_pytorch(tmp_path, capsys, warm_programs):
    write_cifar10(tmp_path / "cifar", 210)
    assert main(["bench", "plain", f"--root={tmp_path / 'cifar'}", f"--out={tmp_path}", "--repeats=1", "--steps=1"]) == 0
    (written,) = tmp_path.glob("plain-*.json")
    result = json.loads(written.read_text())
    ours, peer = (result[f"{name}_images_per_second"]["median"] for name in ("distalex", "plain"))
    assert result["ratio"]["median"] == pytest.approx(ours / peer)
    assert result["share_of_peak"] == pytest.approx(0.87 * ours / result["matmul_peak_gflops"][result["precision"]])
    assert f"ratio {ours / peer:.2f}" in capsys.readouterr().out


@pytest.mark.slow(15)
def test_accuracy_is_that_of_every_seeds_last_evaluation(tmp_path, capsys, monkeypatch, warm_programs):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(accuracy, "measure_plain", lambda *_: 250.0)  # which a test of its own measures
    monkeypatch.setitem(accuracy.TUTORIAL, "top1", 0.0)  # which noise reaches
    write_cifar10(tmp_path / "cifar", 200)
    small = load_config("cifar10_fast", {"model.channels": "8,8,8", "model.kernels": "3,3,3", "model.pooled": "conv1,conv2,conv3"})
    (tmp_path / "small.yaml").write_text(small.dump())
    words = [f"--root={tmp_path / 'cifar'}", f"--config={tmp_path / 'small.yaml'}", f"--out={tmp_path / 'out'}", "--repeats=2", "--steps=1"]
    assert main(["bench", "accuracy", *words]) == 0
    (written,) = (tmp_path / "out").glob("accuracy-*.json")
    result = json.loads(written.read_text())
    assert [(run["seed"], run["images"], run["epochs"]) for run in result["runs"]] == [(seed, 200, small.train.epochs) for seed in (0, 1)]
    assert 0 < result["top1"]["min"] <= result["top1"]["max"] < 40  # of noise
    assert result["plain_seconds_of_20_epochs"] == 4000.0
    assert len([*(tmp_path / "data" / "prepared").glob("*.beton")]) == 2  # all of it before the runs that are timed
    assert result["sooner"]["max"] == pytest.approx(result["plain_seconds_of_20_epochs"] / result["seconds"]["min"])
    for run in result["runs"]:
        assert sum(run["parts"].values()) == pytest.approx(run["seconds"])
        assert min(run["parts"].values()) > 0
    assert f"{result['top1']['median']:.2f} %" in capsys.readouterr().out


def test_no_time_is_compared_where_the_tutorials_accuracy_is_not_reached(tmp_path, capsys, monkeypatch):
    write_cifar10(tmp_path / "cifar", 20)
    run = {"seconds": 10.0, "parts": {"in steps": 10.0}}
    for top1, is_reached in ((71.9, False), (71.91, True)):
        monkeypatch.setattr(accuracy, "_train", lambda *_, found=top1: {**run, "top1": found})
        monkeypatch.setattr(accuracy, "measure_plain", lambda *_: 250.0)
        found = accuracy.bench_accuracy(AccuracyOptions(root=str(tmp_path / "cifar"), out=str(tmp_path), repeats=1))
        assert (found["sooner"] is not None) == is_reached
        assert ("no times are compared" in capsys.readouterr().out) != is_reached
        assert len(every.ROWS["accuracy"](found)) == is_reached


@pytest.mark.parametrize(
    ("what", "typed", "says"),
    [
        ("plain", "--root=/nope", "root=/nope: holds no CIFAR-10; name a folder of"),
        ("plain", "--root=", "root= (command line): "),
        ("accuracy", "--root=cifar --peer=/nope.py", "peer=/nope.py: no such file; give the path of a script"),
        ("all", "--root=cifar --photographs=/nope", "photographs=/nope: not a folder of class folders"),
        ("all", "--root=cifar --photographs=cifar/train/cat", "photographs=cifar/train/cat: not a folder of class folders"),
        ("lrn", "--device=cpu --batch=99999999", "bench lrn: not enough memory"),
        ("linear", "--batches=99999999", "bench linear: not enough memory"),
        ("augment", "--device=cpu --batch=99999999", "bench augment: not enough memory"),
        ("hosts", "--rate=0gbit", "rate=0gbit"),
        ("hosts", "--steps=2", "steps=2"),
        ("faults", "--only=quark", "only=quark: no fault has such a name"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_measured(what, typed, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path / "cifar", 10)
    assert_refused([what, *typed.split()], says, capsys)
    assert not list(tmp_path.glob("bench/*"))


def test_ordinary_pytorch_takes_images_again_where_there_are_too_few(tmp_path):
    write_cifar10(tmp_path / "cifar", 20)
    source = open_sources(DataConfig(name="cifar10", root=str(tmp_path / "cifar")))[0]
    images = Images(source, len(source) + 10)
    assert len(images) == len(source) + 10
    assert torch.equal(images[3][0], images[3 + len(source)][0])


def test_the_command_of_a_result_can_be_run_again():
    words = shlex.split(_command("parallel", ParallelOptions(network="/my dir/net.py:build", modes=("none",))))
    assert words[:4] == ["python", "-m", "distalex.bench", "parallel"]
    assert "--network=/my dir/net.py:build" in words
    assert _command("faults", FaultsOptions()) == "python -m distalex.bench faults --kills=100 --seed=0"


def test_one_table_and_image_hold_every_comparison(tmp_path):
    once = {"median": 2.0, "min": 1.0, "max": 3.0}
    results = {
        "plain": {"distalex_images_per_second": once, "plain_images_per_second": once, "ratio": {"median": 7.5}},
        "lrn": {
            "rows": [{"where": "after conv1", "precision": "fp32", "distalex_ms": once, "torch_ms": once, "ratio": once}],
        },
        "parallel": {
            "batches": [
                {
                    "batch": 64,
                    "modes": {mode: {"images_per_second": once} for mode in ("none", "model")},
                    "columns_to_none": {"median": 0.9},
                    "columns_to_data": None,
                }
            ]
        },
        "loader": {
            "images": {"encoding": "raw"},
            "contenders": {"input": {"images_per_second": once}, "dataloader": {"images_per_second": once}},
            "speedup": {"median": 30.0},
        },
        "accuracy": {
            "seconds": once,
            "plain_seconds_of_20_epochs": 120.0,
            "top1": once,
            "tutorial": {"top1": 71.91},
            "sooner": {"median": 60},
        },
    }
    rows = [row for what, found in results.items() for row in every.ROWS[what](found)]
    assert [row["ratio"] for row in rows] == [7.5, 2.0, 0.9, 30.0, 60]
    machine = {"processor": "one", "cores": 2, "versions": {"torch": "2"}}
    result = {"rows": rows, "machine": machine, "command": "python -m distalex.bench all", "date": "2026-11-25", "seconds": 100.0}
    assert [line.split("  ")[0] for line in every.table(result).splitlines()[1:6]] == [row["name"] for row in rows]
    every.draw_all(result, tmp_path / "all.png")
    assert Image.open(tmp_path / "all.png").size[0] > 800
