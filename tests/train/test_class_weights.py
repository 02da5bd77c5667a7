"""Sets that lean: classes weighed in the loss, and as many images of each class."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import opened
from support.runs import metrics, newest, options, small
from torch import nn

from distalex.cli.main import main
from distalex.data import order
from distalex.data.batches import Batch, Mixed, weigh
from distalex.train.loop import summed_loss

LABELS = np.array([0] * 90 + [1] * 10)


def leaning(root, counts):
    """A folder with so many images of noise in each class."""
    draw = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def drawn(labels, seed=0, epoch=0):
    return order.balanced_order(labels, seed, epoch)


def test_a_balanced_epoch_has_as_many_of_each_class_and_as_many_as_the_set():
    for epoch in range(4):
        samples = drawn(LABELS, epoch=epoch) % 100
        assert np.bincount(LABELS[samples]).tolist() == [50, 50]
        counts = np.bincount(samples, minlength=100)
        assert counts[:90].max() == 1 and set(counts[90:]) == {5}
    assert sorted(np.bincount(np.repeat([0, 2, 5], [20, 4, 1])[drawn(np.repeat([0, 2, 5], [20, 4, 1])) % 25])) == [0, 0, 0, 8, 8, 9]


def test_draws_of_a_sample_differ_so_that_each_is_augmented_anew_and_all_are_keyed():
    first = drawn(LABELS)
    assert len(set(first)) == len(first)
    assert np.array_equal(first, drawn(LABELS))
    assert not np.array_equal(first, drawn(LABELS, epoch=1)) and not np.array_equal(first, drawn(LABELS, seed=1))
    frequent = [set(drawn(LABELS, epoch=epoch)[drawn(LABELS, epoch=epoch) < 90]) for epoch in range(20)]
    assert len(set.union(*frequent)) == 90  # all within a few epochs


def test_steps_of_a_balanced_epoch_are_the_same_on_any_number_of_replicas():
    whole = list(order.training_steps(100, 16, 0, 3, 0, 1, "balanced", LABELS))
    parts = [list(order.training_steps(100, 16, 0, 3, replica, 3, "balanced", LABELS)) for replica in range(3)]
    for number, step in enumerate(whole):
        assert np.array_equal(np.concatenate([steps[number].samples for steps in parts]), step.samples)


@pytest.mark.parametrize("loader", ["ffcv", "torchvision"])
def test_repeated_images_are_augmented_anew_with_their_own_labels(alone, tmp_path, loader):
    root = leaning(tmp_path / "set", {"rare": 1, "usual": 9})
    more = {"data__name": "folder", "data__root": str(root), "data__stored_size": "40", "data__holdout": "0", "data__order": "balanced"}
    split = opened(small(data__loader=loader, data__workers="1", train__batch_size="10", **more), alone).train
    (batch,) = split.train(0)
    rare = [row for row, draw in enumerate(batch.samples) if batch.labels[row] == 0]
    assert len(rare) == 5 and len(torch.unique(batch.images[rare], dim=0)) == 5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_loss_and_gradients_are_torchs_on_the_whole_batch(alone, smoothing, micro_batches):
    torch.manual_seed(0)
    images, labels, weights = torch.randn(100, 6), torch.from_numpy(LABELS), torch.tensor([0.3, 4.0])
    net = nn.Linear(6, 2)
    (batch,) = weigh((one for one in [Batch(images, labels, np.arange(100), 0, 100)]), weights, alone)
    loss = sum(summed_loss(net(part.images), part, smoothing) for part in batch.micro_batches(micro_batches)) / batch.total
    ours = torch.autograd.grad(loss, list(net.parameters()))
    expected = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)(net(images), labels)
    assert torch.allclose(loss, expected, rtol=1e-5)  # fp32 sums in another order
    for gradient, same in zip(ours, torch.autograd.grad(expected, list(net.parameters())), strict=True):
        assert torch.allclose(gradient, same, rtol=1e-4, atol=1e-6)


def test_a_mixed_image_has_its_share_of_both_labels_weights(alone):
    logits, labels, others = torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), torch.tensor([1, 1, 0, 0])
    shares, weights = torch.tensor([0.9, 0.5, 0.2, 0.7]), torch.tensor([0.5, 3.0])
    mix = Mixed(others, shares)
    (batch,) = weigh((one for one in [Batch(logits, labels, np.arange(4), 0, 4, None, mix)]), weights, alone)
    (part,) = batch.micro_batches(1)
    losses = [nn.functional.cross_entropy(logits, one, weights, reduction="none") for one in (labels, others)]
    mean = (shares * losses[0] + (1 - shares) * losses[1]).sum() / (shares * weights[labels] + (1 - shares) * weights[others]).sum()
    assert torch.allclose(summed_loss(logits, part, 0.0) / 4, mean, rtol=1e-5)


LEANING = {
    "data__name": "folder",
    "data__stored_size": "40",
    "data__holdout": "0",
    "data__order": "balanced",
    "data__trivial_augment": "true",
    "data__jitter": "0.4,0.4,0.4,0.1",
    "data__vertical_flip": "true",
    "data__erase": "0.5",
    "train__class_weights": "rare:3",
    "train__label_smoothing": "0.1",
    "train__batch_size": "7",
    "train__epochs": "2",
}


@pytest.mark.slow(10)
def test_weights_a_balanced_order_and_policies_train_the_same_run_on_every_topology_and_resume_to_the_bit(launch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = leaning(tmp_path / "set", {"rare": 2, "usual": 18})
    same = {**LEANING, "data__root": str(root)}
    assert main(["train", *options(name="one", parallel="none", **same)]) == 0
    assert main(["train", *options(name="parts", parallel="none", **same, train__max_steps="2")]) == 0
    assert main(["train", *options(name="parts", parallel="none", **same, checkpoint__resume="auto", data__loader="ffcv")]) == 0
    more = {"two": ("data", 2, "ffcv", "1"), "three": ("data", 3, "torchvision", "2"), "columns": ("model", 2, "torchvision", "1")}
    for name, (parallel, processes, loader, parts) in more.items():
        typed = options(name=name, parallel=parallel, **same, data__loader=loader, data__workers="1", train__accumulate=parts)
        done = launch("train", *typed, processes=processes)
        assert done.returncode == 0, done.stderr
        assert "training loss weighted by class (evaluation is not): rare 3, usual 1" in done.stdout
    expected, weights = metrics(tmp_path / "runs" / "one"), newest(tmp_path / "runs" / "one")["model"]
    assert len(expected) == 6 and all(row["weighted"] for row in expected)
    for name in more:
        rows = metrics(tmp_path / "runs" / name)
        assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], abs=2e-6)
        for key, value in newest(tmp_path / "runs" / name)["model"].items():
            assert torch.allclose(value, weights[key], rtol=0, atol=2e-6), (name, key)
    assert [row["loss"] for row in metrics(tmp_path / "runs" / "parts")] == [row["loss"] for row in expected]
    assert all(torch.equal(value, weights[key]) for key, value in newest(tmp_path / "runs" / "parts")["model"].items())


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--train.class_weights=9:2,ten:3"], "train.class_weights=ten:3: no such class"),
        (["--train.class_weights=0:-1"], "weights above 0 are needed"),
        (["--train.class_weights=heavy"], "train.class_weights=heavy"),
        (["--data.order=balanced", "--data.mixup=0.2"], "data.order=balanced: does not go with data.mixup"),
        (["--data.order=balanced", "--train.class_weights=balanced"], "train.class_weights=balanced: does not go with data.order=balanced"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(capsys, tmp_path, monkeypatch, typed, words):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config=digits", "--log.wandb=disabled", *typed]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
