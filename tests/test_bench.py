"""`bench parallel` and `bench loader`: what they measure and write, where columns and data parallelism cross, and mistakes."""

import itertools
import json
import os

import numpy as np
import pytest
import torch
from conftest import write_cifar10
from PIL import Image

from distalex.bench import accuracy, files, loader, side
from distalex.bench import all as every
from distalex.bench.crossing import Line, bytes_crossing, fit_line, lines_crossing, measured_crossing
from distalex.bench.options import BenchOptions
from distalex.bench.parallel import choose_modes, crossing, lrn_implementation, summary
from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.config.loading import load_config
from distalex.data.beton.files import write
from distalex.data.sources import find
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores

SMALL = ["--device=cpu", "--batches=8", "--image_size=64", "--repeats=1", "--steps=1"]


@pytest.mark.slow
def test_modes_are_measured_side_by_side(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "parallel", *SMALL, "--modes=none,data,model", "--out=there"]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "there").glob("parallel-*.json")
    result = json.loads(path.read_text())
    assert (
        result["command"] == "python -m distalex.bench parallel --batches=8 --modes=none,data,model --processes=2 "
        f"--precision={'bf16' if has_bf16(torch.device('cpu')) else 'fp32'} --image_size=64 --lrn=true --device=cpu --repeats=1 --steps=1"
    )
    assert result["machine"]["cores"] == cores()
    assert set(result["machine"]["versions"]) >= {"torch", "numba"}
    assert set(result["matmul_peak_gflops"]) == ({"fp32", "bf16"} if has_bf16(torch.device("cpu")) else {"fp32"})
    assert result["lrn"] == "lrn_cpu (Numba)"
    assert result["processes"] == {"none": 1, "data": 2, "model": 2}
    assert result["failed"] == []
    assert [(run["repeat"], run["batch"], run["parallel"]) for run in result["runs"]] == [
        (1, 8, mode) for mode in ("none", "data", "model")
    ]
    for run in result["runs"]:
        assert run["images_per_second"] == run["images_per_second_of_steps"][0] > 0
        assert 0 <= run["comm_exposed_fraction"] < 1
    (only,) = result["batches"]
    a_image = 39_424 if has_bf16(torch.device("cpu")) else 78_848  # bytes of activations
    assert {mode: numbers["comm_bytes"] for mode, numbers in only["modes"].items()} == {
        "none": 0,
        "data": 243_860_896,
        "model": 8 * a_image,
    }
    rates = {run["parallel"]: run["images_per_second"] for run in result["runs"]}
    assert only["columns_to_data"]["median"] == pytest.approx(rates["model"] / rates["data"])
    assert result["crossing"]["bytes_are_equal_at"] == pytest.approx(243_860_896 / a_image)
    with open(path.with_suffix(".png"), "rb") as image:
        assert image.read(8) == b"\x89PNG\r\n\x1a\n"
    assert "LRN: lrn_cpu (Numba)" in printed
    assert "columns ÷ data" in printed
    assert sorted(os.listdir(tmp_path)) == ["there"]


@pytest.mark.slow
def test_a_run_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nowhere")  # no two processes find each other
    assert main(["bench", "parallel", *SMALL, "--modes=data,none", f"--out={tmp_path}", "--lrn=false"]) == 1
    assert "failed: 1 of 2 runs" in capsys.readouterr().out
    (path,) = tmp_path.glob("parallel-*.json")
    result = json.loads(path.read_text())
    assert [run["parallel"] for run in result["failed"]] == ["data"]
    assert "ended with status" in result["failed"][0]["error"]
    assert [run["parallel"] for run in result["runs"]] == ["none"]
    assert (result["crossing"], result["lrn"]) == (None, "off")
    assert path.with_suffix(".png").is_file()


def test_bytes_are_equal_at_1005_images_and_at_twice_as_many_in_bf16():
    assert bytes_crossing(243_860_896, 242_688) == pytest.approx(1004.8, abs=0.05)
    assert bytes_crossing(243_860_896, 121_344) == pytest.approx(2009.7, abs=0.05)


def test_the_measured_crossing_lies_between_the_batches_around_it():
    # In the logarithms, 2 and 1/2 are equally far from 1, so the crossing is at their geometric mean.
    found = measured_crossing({32: 3.0, 64: 2.0, 256: 0.5})
    assert found.batch == pytest.approx(128)
    assert found.words == "at about 128, between 64 and 256"
    assert measured_crossing({32: 1.5, 64: 1.0, 128: 0.5}).batch == 64


def test_a_crossing_counts_once_data_parallel_stays_ahead():
    found = measured_crossing({32: 1.2, 64: 0.9, 128: 1.1, 256: 1 / 1.1})
    assert 128 < found.batch < 256


def test_no_crossing_is_said_so():
    assert measured_crossing({512: 1.01, 32: 2.0}) == (None, "not below 512, as columns are ahead there")
    assert measured_crossing({64: 0.9, 128: 0.8}) == (None, "below 64, as it is ahead at every batch measured")


def test_a_line_through_steps_finds_what_a_step_and_a_image_cost():
    seconds = {batch: 0.3 + 0.005 * batch for batch in (32, 64, 256)}
    assert fit_line(seconds) == pytest.approx((0.3, 0.005))
    assert fit_line({32: 1.0}) is None


def test_lines_cross_where_a_images_cost_outweighs_a_steps():
    assert lines_crossing(Line(0.5, 0.004), Line(0.1, 0.005)) == pytest.approx(400)
    assert lines_crossing(Line(0.5, 0.005), Line(0.1, 0.004)) is None
    assert lines_crossing(Line(0.1, 0.004), Line(0.5, 0.005)) == 0


def measured(mode, repeat, batch, rate, sent=0):
    return {
        "parallel": mode,
        "repeat": repeat,
        "batch": batch,
        "images_per_second": rate,
        "comm_bytes": sent,
        "comm_exposed_fraction": 0.1,
        "data_wait_fraction": 0.01,
    }


def test_ratios_are_of_the_same_repeat_and_skip_what_failed():
    runs = [measured("data", 1, 32, 50.0), measured("model", 1, 32, 100.0), measured("data", 2, 32, 100.0), measured("model", 2, 32, 100.0)]
    found = summary([*runs, measured("model", 3, 32, 900.0)], 32)
    assert found["columns_to_data"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert found["columns_to_none"] is None
    assert found["modes"]["model"]["images_per_second"]["max"] == 900.0


@pytest.mark.parametrize(("precision", "width", "equal"), [("fp32", 4, 1004.8), ("bf16", 2, 2009.7)])
def test_the_crossing_by_bytes_is_what_was_sent(precision, width, equal):
    sent = {"data": 243_860_896, "model": 64 * 242_688 * width // 4}
    found = crossing([measured(mode, 1, 64, 100.0, sent[mode]) for mode in sent], precision)
    assert found["bytes_are_equal_at"] == pytest.approx(equal, abs=0.05)
    assert found["bytes_are_equal_in_fp32_at"] == pytest.approx(1004.8, abs=0.05)
    assert crossing([measured("data", 1, 64, 100.0, 1)], precision) is None


def test_hybrid_has_four_processes_and_runs_by_default_where_they_have_a_core_each(capsys):
    chosen = choose_modes(BenchOptions(what="parallel", device="cpu"))
    assert ("hybrid" in chosen) == (cores() >= 4)
    assert ("without hybrid" in capsys.readouterr().out) == (cores() < 4)
    assert choose_modes(BenchOptions(what="parallel", device="cpu", modes=("hybrid", "none"))) == {"hybrid": 4, "none": 1}


def test_columns_are_left_out_where_processes_do_not_fit_them(capsys):
    assert "model" not in choose_modes(BenchOptions(what="parallel", device="cpu", processes=4))
    assert "without model: modes=model has a process for each of the network's 2 columns, not 4" in capsys.readouterr().out


def test_the_lrn_that_runs_is_named():
    assert [lrn_implementation(True, "cpu"), lrn_implementation(True, "cuda"), lrn_implementation(False, "cpu")] == [
        "lrn_cpu (Numba)",
        "banded convolution",
        "off",
    ]


MISTAKES = {
    "--modes=sideways": "modes=sideways",
    "--modes=auto": "modes=auto",
    "--batches=0": "batches=0",
    "--batches=": "batches",
    "--batches=32,many": "batches=many",
    "--processes=1": "processes=1",
    "--modes=model --processes=3": "use --processes=2",
    "--modes=none,hybrid --processes=5": "use --processes=6",
    "--precision=fp8": "precision=fp8",
    "--image_size=32": "image_size=32",
    "--lrn=perhaps": "lrn=perhaps",
    "--repeats=0": "repeats=0",
    "--root=images": "root goes with `bench plain`, `bench accuracy`, `bench all`, `bench loader`, not with `bench parallel`",
    "--batch=32": "batch goes with `bench loader`, `bench lrn`, not with `bench parallel`",
    "--batchs=32": "--batchs (command line): no such option, did you mean batches?",
    "--out=file/inside": "out=file/inside",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line_before_anything_starts(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["bench", "parallel", *typed.split()]) == 2
    error = capsys.readouterr().err
    assert MISTAKES[typed] in error
    assert error.count("\n") == 1, error
    assert os.listdir(tmp_path) == ["file"]


def test_options_of_the_parallel_benchmark_are_refused_by_the_plain_one(capsys):
    assert main(["bench", "plain", "--batches=32"]) == 2
    assert "batches goes with `bench parallel`, not with `bench plain`" in capsys.readouterr().err


@pytest.mark.slow
def test_loaders_are_measured_side_by_side(tmp_path, photographs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sides = "ffcv_raw,distalex_raw,input_jpg,dataloader_original,dataloader_stored"
    sizes = ["--image_size=64", "--images=32", "--batch=8", "--repeats=1", "--seconds=0.1", "--precision=fp32"]
    root = photographs / "train"
    assert main(["bench", "loader", f"--root={root}", f"--sides={sides}", *sizes, "--out=there"]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "there").glob("loader-*.json")
    assert str(root) not in path.read_text()
    result = json.loads(path.read_text())
    assert result["command"] == (
        "python -m distalex.bench loader --root=DIR --images=32 --batch=8 --image_size=64 --precision=fp32 --repeats=1 --seconds=0.1 "
        f"--sides={sides}"
    )
    assert result["input"] == {"image_size": 64, "window": 64, "margin": 0, "precision": "fp32", "batch": 8}
    assert (result["images"]["count"], result["images"]["classes"], result["images"]["stored_size"]) == (32, 3, 73)
    assert list(result["sides"]) == sides.split(",")
    rates = {run["side"]: run["images_per_second"] for run in result["runs"]}
    for run in result["runs"]:
        assert run["seconds"] >= 0.1
        assert rates[run["side"]] == pytest.approx(run["images"] / run["seconds"])
        assert result["sides"][run["side"]]["first_batch_seconds"]["median"] == run["first_batch_seconds"] > 0
    assert result["overhead_percent"]["raw"]["max"] == pytest.approx(100 * (rates["ffcv_raw"] / rates["distalex_raw"] - 1))
    assert result["ratios"]["input_jpg"]["dataloader_stored"]["min"] == pytest.approx(rates["input_jpg"] / rates["dataloader_stored"])
    assert result["failed"] == []
    with open(path.with_suffix(".png"), "rb") as image:
        assert image.read(8) == b"\x89PNG\r\n\x1a\n"
    assert "distalex, JPEG ÷ DataLoader, stored-size JPEG files: " in printed
    assert sorted(os.listdir(tmp_path)) == ["there"]


@pytest.mark.slow
def test_loaders_are_measured_without_images_webdataset_or_luck(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("distalex.bench.loader.find_spec", lambda _: None)
    monkeypatch.setitem(loader.INPUT, "nonsense", "what fails")
    options = BenchOptions(what="loader", sides=("input_raw", "webdataset"), images=8, batch=4, repeats=1, seconds=0.1, image_size=64)
    options = options.model_copy(update={"sides": (*options.sides, "nonsense"), "out": str(tmp_path)})
    result = loader.bench_loader(options)
    assert result["images"]["kind"] == "random photographs"
    assert result["images"]["median_size"] == [500, 375]
    assert result["not_installed"] == ["webdataset"]
    assert result["machine"]["versions"]["webdataset"] == "not installed"
    assert list(result["sides"]) == ["input_raw"]
    assert [failed["side"] for failed in result["failed"]] == ["nonsense"]
    printed = capsys.readouterr().out
    assert "not installed" in printed
    assert "failed: 1 of 2 runs" in printed


def test_rates_of_loaders_are_compared_within_a_repeat():
    rates = {"ffcv_raw": (110.0, 200.0), "distalex_raw": (100.0, 200.0), "input_jpg": (30.0, 30.0), "dataloader_original": (10.0, 15.0)}
    runs = [
        {"side": side, "repeat": repeat, "images_per_second": pair[repeat], "first_batch_seconds": 1.0}
        for side, pair in rates.items()
        for repeat in (0, 1)
    ]
    found = loader.summary(runs)
    assert found["overhead_percent"]["raw"] == pytest.approx({"median": 5.0, "min": 0.0, "max": 10.0})
    assert found["ratios"] == {"input_raw": {}, "input_jpg": {"dataloader_original": {"median": 2.5, "min": 2.0, "max": 3.0}}}


def test_a_goal_is_reached_only_where_every_repeat_reaches_it():
    def said(low, high):
        ratio = {"input_jpg": {"dataloader_stored": {"median": 4.0, "min": low, "max": high}}}
        nothing = {"sides": {}, "not_installed": [], "failed": [], "overhead_percent": {}, "goals": loader.GOALS}
        return loader.report({**nothing, "ratios": ratio})

    assert "goal: 3: reached" in said(3.0, 5.0)
    assert "goal: 3: missed" in said(1.0, 2.9)
    assert "goal: 3: undecided" in said(2.0, 5.0)


def test_time_is_taken_after_the_first_batches_and_over_whole_rounds_of_workers():
    given = []

    def epoch(number):
        for step in range(5):
            given.append((number, step))
            yield [None] * 7, None

    measured = side.measure(side.endless(epoch), 3, 1e-9, 0.0)
    assert measured["images"] == 12 * 7  # four rounds of three workers at least
    assert len(given) == 12 + 12  # and as many before them
    assert given[:6] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]


@pytest.mark.parametrize("stored", [73, 32])
def test_both_ways_to_the_networks_input_have_its_shape_and_scale(stored, tmp_path, monkeypatch):
    """Windows and draws differ; of one plain colour they are all the same."""
    monkeypatch.setattr(files, "EPOCH", 8)
    pixels = np.full((stored, stored, 3), (200, 100, 50), dtype=np.uint8)
    for number, name in enumerate(("one", "two")):
        (tmp_path / "original" / name).mkdir(parents=True)
        for image in range(4):
            Image.fromarray(pixels).save(tmp_path / "original" / name / f"{number}{image}.png")
    mean, covariance = (100.0, 100.0, 100.0), ((400.0, 0.0, 0.0), (0.0, 400.0, 0.0), (0.0, 0.0, 400.0))
    setup = files.Setup(8, stored, 64, 4, 1, "bf16", mean, covariance)
    (source,) = find.list_sources(DataConfig(name="folder", root=str(tmp_path / "original"), stored_size=stored))
    write(source, tmp_path / "raw.beton", lambda *_: None)
    for prepared in (side.input_raw(setup, tmp_path), side.dataloader_original(setup, tmp_path)):
        images = next(iter(prepared(0)))[0]
        assert images.shape == (4, 3, 64, 64)
        assert images.dtype == torch.bfloat16
        assert images[:, :, 32, 32].float().numpy() == pytest.approx(np.tile([5.0, 0.0, -2.5], (4, 1)), abs=0.03)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--root=nowhere", "root=nowhere: no folder of class folders"),
        ("--root=.", "root=.: images of two classes at least are needed"),
        ("--sides=fast", "sides=fast"),
        ("--steps=3", "steps goes with `bench plain`, `bench accuracy`, `bench parallel`, not with `bench loader`"),
    ],
)
def test_a_mistake_with_loaders_is_one_line(typed, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "loader", typed]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where none is")
def test_a_gpu_that_is_not_there_is_a_mistake(capsys):
    assert main(["bench", "parallel", "--device=cuda"]) == 2
    assert "device=cuda: PyTorch sees no GPU here" in capsys.readouterr().err


def test_lrn_is_measured_in_every_layout_and_precision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "lrn", "--batch=2", "--repeats=1", "--device=cpu"]) == 0
    (path,) = tmp_path.glob("bench/lrn-*.json")
    result = json.loads(path.read_text())
    assert {(row["layout"], row["precision"]) for row in result["rows"]} == set(
        itertools.product(("channels-last", "contiguous"), ("fp32", "bf16"))
    )
    assert len(result["rows"]) == 12
    assert all(row["ratio"]["median"] > 0 and row["shape"][0] == 2 for row in result["rows"])


@pytest.mark.slow
def test_the_tutorials_job_is_measured_here_and_in_ordinary_pytorch(tmp_path, capsys):
    write_cifar10(tmp_path / "cifar", 210)
    assert main(["bench", "plain", f"--root={tmp_path / 'cifar'}", f"--out={tmp_path}", "--repeats=1", "--steps=1"]) == 0
    (written,) = tmp_path.glob("plain-*.json")
    result = json.loads(written.read_text())
    ours, peer = (result[f"{side}_images_per_second"]["median"] for side in ("distalex", "plain"))
    assert result["ratio"]["median"] == pytest.approx(ours / peer)
    assert result["share_of_peak"] == pytest.approx(0.87 * ours / result["matmul_peak_gflops"][result["precision"]])
    assert f"ratio {ours / peer:.2f}" in capsys.readouterr().out


@pytest.mark.slow
def test_accuracy_is_that_of_every_seeds_last_evaluation(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(accuracy, "measure_peer", lambda *_: 250.0)  # which a test of its own measures
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
    assert f"{result['top1']['median']:.2f} %" in capsys.readouterr().out


def test_one_table_and_image_hold_every_comparison(tmp_path):
    once = {"median": 2.0, "min": 1.0, "max": 3.0}
    results = {
        "plain": {"distalex_images_per_second": once, "plain_images_per_second": once, "ratio": {"median": 7.5}},
        "lrn": {
            "rows": [
                {"where": "after conv1", "layout": layout, "precision": "fp32", "distalex_ms": once, "torch_ms": once, "ratio": once}
                for layout in ("channels-last", "contiguous")
            ]
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
            "sides": {"input_raw": {"images_per_second": once}, "dataloader_original": {"images_per_second": once}},
            "ratios": {"input_raw": {"dataloader_original": {"median": 30.0}}, "input_jpg": {}},
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
    result = {"rows": rows, "machine": machine, "date": "2026-11-25", "seconds": 100.0}
    assert [line.split("  ")[0] for line in every.table(result).splitlines()[1:6]] == [row["name"] for row in rows]
    every.draw_all(result, tmp_path / "all.png")
    assert Image.open(tmp_path / "all.png").size[0] > 800


@pytest.mark.slow
def test_struck_runs_are_held_against_one_that_nothing_happened_to(tmp_path, launch):
    done = launch("bench", "faults", "--kills=3", "--modes=none", f"--out={tmp_path}/out", "--seed=1")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("faults-*.json")
    found = json.loads(path.read_text())
    assert sum(one["count"] for one in found["faults"].values()) == 3
    assert found["runs"] == [{"parallel": "none", "problems": []}]
    assert "1 of 1 runs equal" in done.stdout


def test_differences_between_runs_are_found(tmp_path):
    from distalex.bench.faults import differences

    rows = [{"kind": "train", "step": step, "epoch": 1, "loss": 1.0 / step, "top1": 0.0, "lr": 0.1} for step in (1, 2, 3)]
    for name, written in (("whole", rows), ("twice", [*rows, rows[-1]]), ("other", [*rows[:2], {**rows[2], "loss": 9.0}])):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    (tmp_path / "other" / "checkpoints" / ".step-00000003.pt.7.partial").touch()
    assert differences(tmp_path / "whole", tmp_path / "whole") == []
    assert differences(tmp_path / "whole", tmp_path / "twice")[0] == "a step stands twice in metrics.jsonl"
    found = " ".join(differences(tmp_path / "whole", tmp_path / "other"))
    for words in ("another curve", "parted", "left behind: .step-00000003"):
        assert words in found


@pytest.mark.slow
def test_a_long_run_is_watched(tmp_path, launch):
    done = launch("bench", "soak", "--minutes=0.5", f"--out={tmp_path}/out")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("soak-*.json")
    found = json.loads(path.read_text())
    assert found["steps"] > 10
    assert found["measures"]["threads"]["most"] >= 1
    assert found["measures"]["memory"]["least"] > 50
