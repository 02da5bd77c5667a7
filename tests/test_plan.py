"""The planner: bytes as the papers count them, who holds what, and rankings that follow from a machine."""

import json
import re
import time
from dataclasses import replace

import pytest
from conftest import REPOSITORY, metrics, options, small

from distalex.bench.options import BenchOptions
from distalex.bench.parallel import measure
from distalex.cli.main import main
from distalex.config.config import Config
from distalex.config.data import DataConfig
from distalex.config.loading import load_config
from distalex.errors import UserError
from distalex.parallel.topology import layout
from distalex.plan import holdings
from distalex.plan import measure as measure_module
from distalex.plan.cost import MODES, predict, rank
from distalex.plan.curves import curves
from distalex.plan.dry_run import describe_layout, name_ranks
from distalex.plan.layers import layers_of
from distalex.plan.machine import PRESETS, Link, Machine, Timing, described
from distalex.plan.measure import choose, choose_on, this_machine

PAPER = load_config(None, {"data.name": "synthetic", "data.synthetic_classes": "1000"})
TORCHVISION = load_config(None, {"model.name": "torchvision"})


def layers(training=PAPER, classes=1000):
    return layers_of(training.model, classes, training.data.image_size, training.train.precision)


def sent(parallel, world_size, batch, training=PAPER, rank=0):
    mesh = layout(parallel, world_size, training.model.columns)
    return holdings.sent(training, layers(training), parallel, mesh, rank, batch)


def test_the_layers_are_those_of_the_paper():
    assert sum(layer.parameters for layer in layers()) == 60_965_224
    assert sum(layer.macs for layer in layers()) == pytest.approx(724.4e6, rel=1e-4)
    assert [layer.name for layer in layers() if layer.reads == "both"] == ["conv3", "fc6", "fc7", "fc8"]
    fully_connected = [layer for layer in layers() if not layer.convolves]
    assert sum(layer.parameters for layer in fully_connected) / 60_965_224 == pytest.approx(0.962, abs=5e-4)
    assert sum(layer.macs for layer in fully_connected) / 724.4e6 == pytest.approx(0.081, abs=5e-4)


@pytest.mark.parametrize(("devices", "megabytes"), [(2, 243.9), (4, 365.8), (8, 426.8)])
def test_data_parallel_bytes_are_a_rings(devices, megabytes):
    assert sent("data", devices, 128).gradients / 1e6 == pytest.approx(megabytes, abs=0.05)
    assert sent("data", devices, 128).activations == 0


@pytest.mark.parametrize(("batch", "megabytes"), [(128, 31.1), (256, 62.1), (1024, 248.5)])
def test_two_columns_send_242_688_bytes_a_image(batch, megabytes):
    for column in (0, 1):
        columns = sent("model", 2, batch, rank=column)
        assert columns.of_the_network == 242_688 * batch
    assert columns.of_the_network / 1e6 == pytest.approx(megabytes, abs=0.05)


def test_bf16_activations_are_half_as_many_bytes():
    bf16 = load_config(None, {"train.precision": "bf16"})
    assert sent("model", 2, 128, bf16).activations == sent("model", 2, 128).activations / 2


def test_columns_send_less_than_data_parallel_below_1_005_images():
    gradients = sent("data", 2, 1004).gradients
    assert sent("model", 2, 1004).activations < gradients < sent("model", 2, 1005).activations


@pytest.mark.parametrize(
    ("devices", "batch", "megabytes"),
    [(2, 128, 19.3), (2, 256, 28.7), (2, 1024, 85.3), (8, 128, 33.8), (8, 256, 50.3), (8, 1024, 149.2)],
)
def test_one_weird_trick_bytes_are_the_published_ones(devices, batch, megabytes):
    """Those are of the one-tower network, and count logits on the way back too, which we need not send."""
    traffic = sent("owt", devices, batch, TORCHVISION)
    assert (traffic.of_the_network + 2 * traffic.logits) / 1e6 == pytest.approx(megabytes, abs=0.06)


def test_hybrid_adds_both_kinds_of_bytes():
    hybrid, columns = sent("hybrid", 8, 512), sent("model", 2, 128)
    assert hybrid.activations == columns.activations
    assert hybrid.gradients / sent("data", 4, 512).gradients == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("parallel", "processes"), [("model", 2), ("owt", 3), ("hybrid", 4)])
def test_a_run_sends_the_predicted_bytes(parallel, processes, launch, tmp_path):
    """What training counts, on a batch and classes that do not divide evenly; gradients to a byte for each bucket."""
    uneven = {"parallel": parallel, "train__batch_size": "19", "data__synthetic_classes": "5", "data__augment": "none"}
    done = launch("train", *options(name="it", train__max_steps="1", **uneven), processes=processes)
    assert done.returncode == 0, done.stdout + done.stderr
    training = small(**uneven)
    mesh = layout(parallel, processes, 2)
    expected = holdings.sent(training, layers(training, 5), parallel, mesh, 0, 19)
    assert metrics(tmp_path / "runs" / "it")[0]["comm_bytes"] == pytest.approx(expected.of_the_network, abs=10)


@pytest.mark.parametrize(("parallel", "processes"), [("model", 2), ("owt", 3), ("owt", 7), ("owt", 128), ("hybrid", 6)])
def test_a_replicas_processes_hold_every_divided_row_once(parallel, processes):
    mesh, network = layout(parallel, processes, 2), layers()
    held = [holdings.holding(network, parallel, mesh, number, 1024) for number in range(mesh.mp)]
    for number, layer in enumerate(network):
        rows = [row for one in held for row in one.rows[number]]
        assert sorted(rows) == (list(range(layer.rows)) if held[0].divided[number] else sorted(list(range(layer.rows)) * mesh.mp))
    shared = sum(layer.parameters for layer, cut in zip(network, held[0].divided, strict=True) if not cut)
    assert sum(holdings.parameters(network, one) for one in held) == 60_965_224 + (mesh.mp - 1) * shared


@pytest.mark.parametrize(("parallel", "processes"), [("data", 7), ("hybrid", 6), ("owt", 3), ("owt", 8)])
def test_every_image_is_convolved_once_and_shares_are_even(parallel, processes):
    mesh = layout(parallel, processes, 2)
    columns_share_images = 1 if parallel != "hybrid" else 2
    images = [holdings.holding(layers(), parallel, mesh, number, 1000).images for number in range(processes)]
    assert sum(images) == 1000 * columns_share_images
    assert max(images) - min(images) <= mesh.mp  # One Weird Trick's rounds differ by one each
    assert holdings.busiest(layers(), parallel, mesh, 1000).images == max(images)


def test_one_weird_trick_gives_every_process_images_of_a_small_batch():
    mesh = layout("owt", 64, 2)
    assert {holdings.holding(layers(), "owt", mesh, number, 128).images for number in range(64)} == {2}


def test_memory_counts_weights_gradients_optimizer_and_activations():
    mesh = layout("data", 1, 2)
    sgd = holdings.memory(PAPER, layers(), "data", mesh, 0, 128)
    assert sgd[:3] == (4 * 60_965_224,) * 3
    adam = load_config(None, {"optim.name": "adam", "model.freeze": "fc6", "train.ema": "0.9"})
    frozen = holdings.memory(adam, layers(), "data", mesh, 0, 128)
    assert frozen.optimizer == 2 * frozen.gradients == 8 * (60_965_224 - 4096 * 9217)
    assert frozen.weights == 8 * 60_965_224
    assert holdings.memory(PAPER, layers(), "data", mesh, 0, 256).activations == 2 * sgd.activations
    halves = [holdings.memory(PAPER, layers(), "model", layout("model", 2, 2), column, 128) for column in (0, 1)]
    assert sum(half.weights for half in halves) == sgd.weights
    assert sgd.activations / 2 < halves[0].activations < sgd.activations


def test_rankings_are_sorted_and_what_does_not_fit_comes_last():
    tight = replace(described("a100", "fp32"), memory=3e9)
    ranked = rank(PAPER, 1000, tight, 8, (128, 1024, 8192))
    fitting = [prediction.images_per_second for prediction in ranked if prediction.fits]
    assert fitting == sorted(fitting, reverse=True)
    assert [prediction.fits for prediction in ranked] == sorted((prediction.fits for prediction in ranked), reverse=True)
    assert {prediction.fits for prediction in ranked} == {True, False}
    assert {prediction.parallel for prediction in ranked} == {"data", "hybrid", "owt"}


def test_only_modes_that_can_divide_are_ranked():
    assert {one.parallel for one in rank(PAPER, 10, described("a100", "fp32"), 16, (128,))} == {"data", "hybrid"}
    assert {one.parallel for one in rank(TORCHVISION, 1000, described("a100", "fp32"), 2, (128,))} == {"data", "owt"}
    assert {one.parallel for one in rank(PAPER, 1000, described("a100", "fp32"), 1, (128,))} == {"none"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sane(name):
    cluster = PRESETS[name]
    assert 1 <= cluster.bf16_flops / cluster.fp32_flops < 32
    assert cluster.memory >= 8e9
    assert cluster.within.latency < 1e-3 and cluster.between.latency < 1e-3
    alone = predict(PAPER, 1000, described(name, "bf16"), "none", 1, 256)
    assert alone.fits
    assert 10 < alone.images_per_second < 1e5
    eight = predict(PAPER, 1000, described(name, "bf16"), "data", 8, 8 * 256)
    assert 4 < eight.images_per_second / alone.images_per_second < 8


@pytest.mark.parametrize(("devices", "published"), [(1, 16_487), (2, 33_629), (4, 65_076), (8, 129_266)])
def test_a100s_over_pcie_are_predicted_within_a_twentieth(devices, published):
    """The efficiency was set by the first; the others follow. The published batch is not known; 512 a device fits them."""
    training = load_config(None, {"model.name": "torchvision", "train.precision": "bf16"})
    machine = described("a100_pcie", "bf16")
    assert predict(training, 1000, machine, "data", devices, 512 * devices).images_per_second == pytest.approx(published, rel=0.05)


def test_predictions_move_as_they_should():
    machine = described("a100", "bf16")
    before = predict(PAPER, 1000, machine, "hybrid", 16, 2048)
    for change in ({"flops": machine.flops * 2}, {"memory_bandwidth": machine.memory_bandwidth * 2}, {"between": Link(2e-5, 400e9)}):
        assert predict(PAPER, 1000, replace(machine, **change), "hybrid", 16, 2048).step <= before.step
    for change in ({"between": Link(2e-5, 1e9)}, {"overlap": 0.0}, {"host_step": 1.0}, {"efficiency": 0.1}):
        assert predict(PAPER, 1000, replace(machine, **change), "hybrid", 16, 2048).step > before.step
    for mode in ("data", "hybrid", "owt"):
        rates = [predict(PAPER, 1000, machine, mode, 8, batch).images_per_second for batch in (64, 256, 1024, 4096)]
        assert rates == sorted(rates)


def test_a_step_is_the_sum_of_its_parts():
    for mode in MODES:
        one = predict(PAPER, 1000, described("rtx4090", "bf16"), mode, 2, 64)
        parts = (one.compute, one.exchange, one.gradients, one.optimizer, one.host)
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(one.step)


def measured(**changes):
    """A machine of two processes whose layers take 1 ms an image whole and half of that in two parts."""
    names = [layer.name for layer in layers()]
    timings = {f"{name}/{parts}": Timing(0.0, 4e-4 / parts, 0.0, 6e-4 / parts) for name in names for parts in (1, 2)}
    link = Link(1e-4, 1e9)
    machine = Machine("test", 0.0, 1.0, 20e9, 64e9, link, link, link, 2, overlap=0.0, timings=timings)
    return replace(machine, **changes)


def test_the_fastest_mode_of_a_measured_machine_is_chosen():
    assert choose_on(measured(), PAPER, 2) in ("model", "owt")
    slow_exchange = measured(gather=Link(1e-2, 1e7))
    assert choose_on(slow_exchange, PAPER, 2) == "data"
    slow_gradients = measured(reduce=Link(1e-4, 1e6))
    assert choose_on(slow_gradients, PAPER, 2) == "model"
    slow_columns = {name: timing for name, timing in measured().timings.items() if name.endswith("/1")}
    slow_columns |= {name.replace("/1", "/2"): timing for name, timing in slow_columns.items() if name.startswith("conv")}
    assert choose_on(measured(timings=slow_columns), PAPER, 2) == "owt"
    assert choose_on(measured(), TORCHVISION, 2) in ("data", "owt")
    assert choose(PAPER, 1, 1) == "none"


@pytest.mark.slow
def test_this_machine_is_measured_once_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("RANK", "1")  # as in a process of torchrun, whose variables the measuring ones must not see
    monkeypatch.setenv("WORLD_SIZE", "2")
    training = small(model__dropout="0")
    start = time.perf_counter()
    machine = this_machine(training, 4, 2, "cpu")
    first, start = time.perf_counter() - start, time.perf_counter()
    assert this_machine(training, 4, 2, "cpu") == machine
    assert time.perf_counter() - start < min(1.0, first)
    assert set(machine.timings) == {f"{layer.name}/{parts}" for layer in layers() for parts in (1, 2)}
    assert all(min(timing) >= 0 and timing.forward_image > 0 for timing in machine.timings.values())
    assert 1e6 < machine.gather.bandwidth < 1e12 and 1e6 < machine.reduce.bandwidth < 1e12
    assert 0 <= machine.overlap <= 1
    assert choose(training, 2, 2) in MODES
    (file,) = (tmp_path / "distalex").iterdir()
    found = json.loads(file.read_text())["found"]
    monkeypatch.setattr(measure_module, "_measure", lambda *_: {**found, "overlap": 0.125})
    file.write_text("{")
    assert this_machine(training, 4, 2, "cpu").overlap == 0.125  # a broken memory is measured anew


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
    assert {(one["parallel"], one["world_size"]) for one in predictions} == {("none", 1), ("data", 4), ("hybrid", 4), ("owt", 4)}
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
    (["a100"], ["a100", "stray word"]),
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
    page = (REPOSITORY / "docs" / "scaling.md").read_text()
    training = load_config("alexnet_paper", {"train.precision": "bf16"})
    for batch, per_device in ((4096, False), (512, True)):
        for line in curves(training, 1000, described("a100", "bf16"), batch, per_device).values():
            for prediction in line.values():
                assert f" {prediction.images_per_second:,.0f} |" in page


@pytest.mark.slow
def test_the_predicted_ranking_of_this_machine_is_the_measured_one(tmp_path, monkeypatch):
    """Small images and batches with all the parameters, so that columns and replicas lie far apart on any machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    batch, modes = 16, ("data", "model")
    asked = BenchOptions(what="parallel", image_size=64, precision="fp32", steps=4, device="cpu")
    rates = {mode: measure(asked, mode, 2, batch)["images_per_second"] for mode in modes}
    training = Config(data=DataConfig(name="synthetic", image_size=64, synthetic_classes=1000))
    predictions = rank(training, 1000, this_machine(training, 1000, 2, "cpu"), 2, (batch,), modes)
    assert [prediction.parallel for prediction in predictions] == sorted(modes, key=rates.__getitem__, reverse=True), rates
