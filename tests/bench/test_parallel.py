"""`bench parallel`: every mode side by side."""

import json
import os
import re

import pytest
import torch
from support.bench import assert_refused, measured
from support.runs import REPOSITORY

from distalex.bench.crossing import Line, bytes_crossing, fit_line, lines_crossing, measured_crossing
from distalex.bench.options import ParallelOptions
from distalex.bench.parallel import choose_modes, lrn_implementation
from distalex.bench.parallel_summary import find_crossing, summarize_batch
from distalex.cli.main import main
from distalex.errors import UserError
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores

SMALL = ["--device=cpu", "--batches=8", "--image_size=64", "--repeats=1", "--steps=1"]


@pytest.mark.slow(40)
def test_modes_are_measured_side_by_side(tmp_path, monkeypatch, capsys, warm_programs):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "parallel", *SMALL, "--modes=none,data,model", "--out=there"]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "there").glob("parallel-*.json")
    result = json.loads(path.read_text())
    assert (
        result["command"] == "python -m distalex.bench parallel --network=paper --modes=none,data,model --batches=8 --processes=2 "
        f"--precision={'bf16' if has_bf16(torch.device('cpu')) else 'fp32'} --image_size=64 --lrn=true --device=cpu --repeats=1 --steps=1"
    )
    assert result["machine"]["cores"] == cores()
    assert set(result["machine"]["versions"]) >= {"torch", "numba"}
    assert set(result["matmul_peak_gflops"]) == ({"fp32", "bf16"} if has_bf16(torch.device("cpu")) else {"fp32"})
    assert result["lrn"] == "Numba kernel"
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
    assert "LRN: Numba kernel" in printed
    assert "columns ÷ data" in printed
    assert sorted(os.listdir(tmp_path)) == ["there"]


@pytest.mark.slow(17)
def test_a_run_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch, capsys, warm_programs):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nowhere")  # no two processes find each other
    assert main(["bench", "parallel", *SMALL, "--modes=data,none", f"--out={tmp_path}", "--lrn=false"]) == 1
    assert "failed: 1 of 2 runs" in capsys.readouterr().out
    (path,) = tmp_path.glob("parallel-*.json")
    result = json.loads(path.read_text())
    assert [run["parallel"] for run in result["failed"]] == ["data"]
    assert "failed with status" in result["failed"][0]["error"]
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


def test_no_crossing_is_reported():
    assert measured_crossing({512: 1.01, 32: 2.0}) == (None, "not below 512, as columns are ahead there")
    assert measured_crossing({64: 0.9, 128: 0.8}) == (None, "below 64, as it is ahead at every batch measured")


def test_a_fitted_line_finds_the_costs_of_a_step_and_an_image():
    seconds = {batch: 0.3 + 0.005 * batch for batch in (32, 64, 256)}
    assert fit_line(seconds) == pytest.approx((0.3, 0.005))
    assert fit_line({32: 1.0}) is None


def test_lines_cross_where_the_cost_of_images_outweighs_that_of_a_step():
    assert lines_crossing(Line(0.5, 0.004), Line(0.1, 0.005)) == pytest.approx(400)
    assert lines_crossing(Line(0.5, 0.005), Line(0.1, 0.004)) is None
    assert lines_crossing(Line(0.1, 0.004), Line(0.5, 0.005)) == 0


def test_ratios_are_of_the_same_repeat_and_skip_what_failed():
    runs = [measured("data", 1, 32, 50.0), measured("model", 1, 32, 100.0), measured("data", 2, 32, 100.0), measured("model", 2, 32, 100.0)]
    found = summarize_batch([*runs, measured("model", 3, 32, 900.0)], 32)
    assert found["columns_to_data"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert found["columns_to_none"] is None
    assert found["modes"]["model"]["images_per_second"]["max"] == 900.0


@pytest.mark.parametrize(("precision", "width", "equal"), [("fp32", 4, 1004.8), ("bf16", 2, 2009.7)])
def test_the_crossing_by_bytes_is_what_was_sent(precision, width, equal):
    sent = {"data": 243_860_896, "model": 64 * 242_688 * width // 4}
    found = find_crossing([measured(mode, 1, 64, 100.0, sent[mode]) for mode in sent], precision)
    assert found["bytes_are_equal_at"] == pytest.approx(equal, abs=0.05)
    assert found["bytes_are_equal_in_fp32_at"] == pytest.approx(1004.8, abs=0.05)
    assert find_crossing([measured("data", 1, 64, 100.0, 1)], precision) is None


def test_hybrid_has_four_processes_and_runs_by_default_where_they_have_a_core_each(capsys):
    chosen = choose_modes(ParallelOptions(device="cpu"))
    assert ("hybrid" in chosen) == (cores() >= 4)
    assert ("without hybrid" in capsys.readouterr().out) == (cores() < 4)
    assert choose_modes(ParallelOptions(device="cpu", modes=("hybrid", "none"))) == {"hybrid": 4, "none": 1}


def test_columns_are_left_out_where_processes_do_not_fit_them(capsys):
    assert "model" not in choose_modes(ParallelOptions(device="cpu", processes=4))
    assert "without model: modes=model: 4 processes" in capsys.readouterr().out


def test_a_network_of_ones_own_has_the_modes_that_it_can_be_divided_for(tmp_path, capsys):
    page = (REPOSITORY / "docs" / "networks.md").read_text()
    for name in ("net.py", "two.py"):
        (tmp_path / name).write_text(re.search(rf"```python\n# {name}\n(.*?)```", page, re.DOTALL)[1])
    both = {
        name: choose_modes(ParallelOptions(device="cpu", network=f"{tmp_path}/{name}:build", image_size=64))
        for name in ("net.py", "two.py")
    }
    assert ("model" in both["net.py"], "model" in both["two.py"], "fsdp" in both["net.py"]) == (False, True, True)
    assert "owt" not in both["two.py"] and "no methods convolve and classify" in capsys.readouterr().out
    with pytest.raises(UserError, match="resnet18 has no columns"):
        choose_modes(ParallelOptions(device="cpu", network="torchvision:resnet18", modes=("model",)))


def test_the_lrn_that_runs_is_named():
    assert [lrn_implementation(lrn, torch.device("cpu")) for lrn in (True, False)] == ["Numba kernel", "off"]
    assert lrn_implementation(True, torch.device("cuda")) in ("Triton kernel", "banded convolution")


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
    "--root=images": "--root (command line): no such option",
    "--batch=32": "--batch (command line): no such option, did you mean batches?",
    "--batchs=32": "--batchs (command line): no such option, did you mean batches?",
    "--out=file/inside": "out=file/inside",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line_before_anything_starts(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert_refused(["parallel", *typed.split()], MISTAKES[typed], capsys)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where none is")
def test_a_gpu_that_is_not_there_is_a_mistake(capsys):
    assert main(["bench", "parallel", "--device=cuda"]) == 2
    assert "device=cuda: PyTorch sees no GPU here" in capsys.readouterr().err
