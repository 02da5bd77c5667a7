"""The promise: a run is a function of its configuration and seed, never of the number of processes."""

import os
import subprocess
import sys

import pytest
import torch
from support.runs import REPOSITORY, metrics, newest, options

from distalex.cli.main import main

EVERYTHING = {
    "train__clip_norm": "1",
    "train__ema": "0.9",
    "train__label_smoothing": "0.1",
    "optim__lr": "0.05",
    "optim__bias_lr": "2",
    "optim__schedule": "cosine",
    "log__layers": "true",
}
# fp32 sums in another order, over a few steps of a small network
LOSS_TOLERANCE = 2e-6
WEIGHT_TOLERANCE = 2e-6


def assert_same_run(one, other):
    ours, theirs = metrics(one), metrics(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, same in zip(ours, theirs, strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=LOSS_TOLERANCE)
        assert row["lr"] == same["lr"]
        assert row["top1"] == same["top1"]
        for kind in {"gradients", "weights", "updates"} & row.keys():
            assert row[kind] == pytest.approx(same[kind], rel=1e-3)
    for row, same in zip(metrics(one, "epoch"), metrics(other, "epoch"), strict=True):
        assert row == {**same, "loss": pytest.approx(same["loss"], abs=LOSS_TOLERANCE)}
    for row, same in zip(metrics(one, "eval"), metrics(other, "eval"), strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=LOSS_TOLERANCE)
        assert (row["top1"], row["top5"], row["count"], row["step"], row["epoch"]) == tuple(
            same[key] for key in ("top1", "top5", "count", "step", "epoch")
        )
    first, second = newest(one), newest(other)
    for part in ("model", "average"):
        assert first[part].keys() == second[part].keys()
        for name, value in first[part].items():
            assert torch.allclose(value, second[part][name], rtol=0, atol=WEIGHT_TOLERANCE), f"{part} {name}"
    for name, values in first["optimizer"].items():
        for key, value in values.items():
            assert torch.allclose(value, second["optimizer"][name][key], rtol=1e-3, atol=WEIGHT_TOLERANCE), f"{name} {key}"


TOPOLOGIES = {  # by --parallel and processes: the mesh (dp, mp)
    "none-1": (1, 1),
    "data-2": (2, 1),
    "data-3": (3, 1),
    "model-2": (1, 2),
    "hybrid-4": (2, 2),
    "model-4": (1, 4),
    "owt-2": (1, 2),
    "owt-3": (1, 3),
    "fsdp-2": (2, 1),
    "fsdp-3": (3, 1),
}


def run_on(launch, topology, name, **changes):
    parallel, processes = topology.split("-")
    done = launch("train", *options(name=name, parallel=parallel, **changes), processes=int(processes))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow(15)
@pytest.mark.parametrize(
    ("optimizer", "columns", "classes", "accumulate", "topologies"),
    [
        ("sgd", "2", "7", "1", ["none-1", "data-3", "model-2", "hybrid-4", "owt-3", "fsdp-3"]),
        ("lars", "4", "11", "3", ["none-1", "data-2", "model-2", "model-4", "owt-2", "fsdp-2"]),
    ],
)
def test_every_topology_trains_the_same_run(launch, tmp_path, optimizer, columns, classes, accumulate, topologies):
    """Dropout, crops, mirrors, colour noise, clipping of the whole network, moving average, an uneven last batch of 8."""
    same = {"optim__name": optimizer, "model__width": "1", "model__columns": columns, "data__synthetic_classes": classes}
    for topology in topologies:
        # The whole network goes through a batch at once, the others in parts.
        run_on(launch, topology, topology, **EVERYTHING, **same, train__accumulate="1" if topology == "none-1" else accumulate)
    runs = tmp_path / "runs"
    assert metrics(runs / "none-1")[2]["step"] == 3
    for topology in topologies[1:]:
        assert_same_run(runs / "none-1", runs / topology)


@pytest.mark.slow
def test_batch_normalisation_is_of_the_whole_batch_on_every_topology(launch, tmp_path):
    """With an uneven last batch of 2, so that one of three replicas has no image, and one hidden layer for One Weird Trick to divide."""
    small = {"model__name": "cifar", "model__batch_norm": "true", "model__channels": "8,8,8", "model__kernels": "5,3,3"}
    small |= {"model__pooled": "conv1,conv3", "data__image_size": "32", "data__synthetic_images": "34"}
    for topology in ("none-1", "data-2", "data-3", "owt-2", "fsdp-3"):
        run_on(launch, topology, topology, **EVERYTHING, **small)
    for topology in ("data-2", "data-3", "owt-2", "fsdp-3"):
        assert_same_run(tmp_path / "runs" / "none-1", tmp_path / "runs" / topology)


@pytest.mark.slow
def test_a_channel_of_a_single_value_is_normalised_by_the_moving_averages(launch, tmp_path):
    """Five poolings leave one pixel of 32x32, and the last batch has one image: there is no variance."""
    small = {"model__name": "cifar", "model__batch_norm": "true", "model__channels": "8,8,8,8,8", "model__kernels": "3,3,3,3,3"}
    small |= {"model__pooled": "conv1,conv2,conv3,conv4,conv5", "data__image_size": "32", "data__synthetic_images": "33"}
    for topology in ("none-1", "data-2"):
        run_on(launch, topology, topology, **EVERYTHING, **small)
    assert_same_run(tmp_path / "runs" / "none-1", tmp_path / "runs" / "data-2")
    assert (newest(tmp_path / "runs" / "none-1")["model"]["after5.1.variance"] > 1e-3).all()


@pytest.mark.slow(10)
def test_every_topology_sees_and_mixes_the_same_images(launch, tmp_path, monkeypatch):
    """Two parts of a batch where it is divided, and an uneven last batch."""
    monkeypatch.chdir(tmp_path)
    seen = {
        "data__augment": "resized_crop",
        "data__stored_size": "72",
        "data__rotate": "15",
        "data__cutout": "0.3",
        "data__mixup": "0.4",
        "data__cutmix": "1",
        "data__synthetic_images": "27",
        "train__epochs": "1",
    }
    for name, change in {"mixed": {}, "unmixed": {"data__mixup": "0", "data__cutmix": "0"}}.items():
        assert main(["train", *options(name=name, parallel="none", **{**EVERYTHING, **seen, **change})]) == 0
    mixed, unmixed = (metrics(tmp_path / "runs" / name)[0]["loss"] for name in ("mixed", "unmixed"))
    assert abs(mixed - unmixed) > 100 * LOSS_TOLERANCE
    for topology in ("data-2", "model-2", "owt-2", "hybrid-4"):
        run_on(launch, topology, topology, **EVERYTHING, **seen, train__accumulate="2")
        assert_same_run(tmp_path / "runs" / "mixed", tmp_path / "runs" / topology)


@pytest.mark.slow(30)
@pytest.mark.parametrize("processes", [2, 4])
def test_every_parameters_gradient_is_the_whole_networks(processes):
    """In processes of their own (tests/parallel/gradients.py): gradients, bytes held, and collectives counted and weighed."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, "-m", *launcher, "tests/parallel/gradients.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as the whole network") >= 4


def test_a_replica_without_images_still_takes_part(launch, tmp_path):
    """Batches of two on three processes, and a last batch and test set that do not divide either."""
    small = {"train__batch_size": "2", "data__synthetic_images": "9", "train__epochs": "1", "optim__lr": "0.001"}
    for topology in ("none-1", "data-3", "fsdp-3"):
        run_on(launch, topology, topology, **small)
    for topology in ("data-3", "fsdp-3"):
        assert_same_run(tmp_path / "runs" / "none-1", tmp_path / "runs" / topology)


@pytest.mark.slow(15)
def test_a_run_moves_from_topology_to_topology(launch, tmp_path):
    """Stopped after every step, in the middle of epochs too, and resumed elsewhere: the curve is the uninterrupted one's."""
    run_on(launch, "none-1", "whole", **EVERYTHING)
    for step, topology in enumerate(["model-2", "fsdp-3", "owt-2", "fsdp-2", "data-2", "hybrid-4"], 1):
        said = run_on(launch, topology, "parts", train__max_steps=str(step), checkpoint__resume="auto", **EVERYTHING)
        assert step == 1 or f"resuming from step {step - 1}" in said
    runs = tmp_path / "runs"
    rows, expected = metrics(runs / "parts"), metrics(runs / "whole")
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [1, 2, 3, 4, 5, 6]
    for row, same in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=LOSS_TOLERANCE)
    first, second = newest(runs / "whole"), newest(runs / "parts")
    for part in ("model", "average"):
        for name, value in first[part].items():
            assert torch.allclose(value, second[part][name], rtol=0, atol=WEIGHT_TOLERANCE), name
    for name, values in first["optimizer"].items():
        assert values["momentum_buffer"].shape == second["optimizer"][name]["momentum_buffer"].shape


@pytest.mark.slow
def test_evaluation_counts_every_image_once_on_any_topology(launch, tmp_path):
    assert launch("train", *options(name="it", train__epochs="1", data__synthetic_images="44")).returncode == 0
    lines = []
    for topology in ("none-1", "data-3", "model-2", "owt-2", "fsdp-3"):
        parallel, processes = topology.split("-")
        done = launch("evaluate", "runs/it", "--batch_size=4", f"--parallel={parallel}", processes=int(processes))
        assert done.returncode == 0, done.stderr
        lines.append(next(line for line in done.stdout.splitlines() if line.startswith("top-1")))
    assert "(11 images)" in lines[0]
    assert len(set(lines)) == 1


@pytest.mark.slow(60)
@pytest.mark.parametrize("topology", ["model-2", "owt-2", "fsdp-2"])
def test_frozen_layers_and_compiled_networks_divide_too(launch, tmp_path, topology):
    """With One Weird Trick nothing is left whose gradients are shared where all convolutions are frozen.

    Two even batches and a convolution less, as each graph takes seconds to compile; train/test_train.py has an uneven batch.
    """
    frozen = {"model__freeze": "conv1,conv2,conv3,conv5", "model__without": "conv4", "train__epochs": "1", "data__synthetic_images": "32"}
    run_on(launch, "none-1", "whole", **frozen)
    run_on(launch, topology, "divided", **frozen, train__compile="true")
    whole, divided = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("whole", "divided"))
    assert divided == pytest.approx(whole, abs=1e-4)  # fused kernels round elsewhere


def test_images_and_logits_are_counted_apart(launch, tmp_path):
    """8 of a batch of 16 images of 64x64x3 bytes, with 8 bytes of label each, and 2 of 4 classes for all 16 in fp32."""
    run_on(launch, "model-2", "it", train__epochs="1", train__max_steps="2")
    for row in metrics(tmp_path / "runs" / "it"):
        counted = row["comm_bytes_by"]
        assert counted["images"] == 8 * (64 * 64 * 3 + 8)
        assert counted["logits"] == 16 * 2 * 4
        assert row["comm_bytes"] == sum(counted[name] for name in ("conv3", "fc6", "fc7", "fc8"))


def test_only_rank_0_talks_and_writes(launch, tmp_path):
    done = launch("train", *options(name="it", train__epochs="1", train__max_steps="1"), processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("in 1/1         1") == 1
    left = sorted(path.name for path in (tmp_path / "runs" / "it").iterdir())
    assert left == ["checkpoints", "config.yaml", "metrics.jsonl", "starts.jsonl"]


def test_gradient_bytes_are_those_of_a_ring(launch, tmp_path):
    """2 (D - 1) / D times the gradients' size, in fp32."""
    assert launch("train", *options(name="it", train__epochs="1", train__max_steps="1"), processes=2).returncode == 0
    parameters = sum(value.numel() for value in newest(tmp_path / "runs" / "it")["model"].values())
    (row,) = metrics(tmp_path / "runs" / "it")
    assert row["comm_bytes"] == parameters * 4
    assert 0 <= row["comm_exposed_fraction"] <= 1


def test_gradients_in_bf16_are_half_the_bytes_and_the_same_run_but_for_their_rounding(launch, tmp_path):
    for precision in ("fp32", "bf16"):
        done = launch("train", *options(name=precision, train__reduce_precision=precision, train__epochs="1"), processes=2)
        assert done.returncode == 0, done.stderr
    fp32, bf16 = (metrics(tmp_path / "runs" / name) for name in ("fp32", "bf16"))
    assert 2 * bf16[0]["comm_bytes"] == fp32[0]["comm_bytes"]
    first, second = (newest(tmp_path / "runs" / name) for name in ("fp32", "bf16"))
    for name, values in first["optimizer"].items():  # sums of gradients: each rounded by 2**-9 at most, some of which cancel
        momentum, rounded = values["momentum_buffer"], second["optimizer"][name]["momentum_buffer"]
        assert 0 < (momentum - rounded).norm() < 0.01 * momentum.norm()


@pytest.mark.slow
def test_networks_that_the_paper_compares_with_divide_too(launch, tmp_path):
    """Other exchanges, a layer less, plain pooling and tanh, on a column each as on one process."""
    changes = {"model__exchange": "conv4,conv5", "model__without": "conv3", "model__pool": "plain", "model__width": "0.5"}
    changes |= {"model__lrn": "false", "model__activation": "tanh", "train__epochs": "1"}
    for topology in ("none-1", "model-2"):
        run_on(launch, topology, topology, **changes)
    assert_same_run(tmp_path / "runs" / "none-1", tmp_path / "runs" / "model-2")
    sent = metrics(tmp_path / "runs" / "model-2")[-1]["comm_bytes_by"]
    assert {"conv4", "conv5", "fc6", "fc7", "fc8"} <= sent.keys()
    assert "conv3" not in sent
