"""Rows, images, bytes and memory of each process."""

import pytest
from support.plan import PAPER, TORCHVISION, layers
from support.runs import metrics, options, small

from distalex.config.loading import load_config
from distalex.parallel.topology import layout
from distalex.plan import holdings


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
def test_two_columns_send_242_688_bytes_an_image(batch, megabytes):
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


@pytest.mark.parametrize(("parallel", "processes"), [("model", 2), ("owt", 3), ("hybrid", 4), ("fsdp", 3)])
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
