"""Data that changes between the start of a run and its end."""

import shutil

import numpy as np
import pytest
from PIL import Image
from support.runs import metrics, newest
from support.train import train


def write_image(path, colour, number):
    """Every file has the same size in bytes."""
    pixels = np.full((16, 16, 3), colour, dtype=np.uint8)
    pixels[0, 0] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="BMP")


@pytest.fixture
def folder(tmp_path):
    """Two classes: 12 training and 4 test images of each."""
    root = tmp_path / "photos"
    for split, count in (("train", 12), ("test", 4)):
        for name, colour in (("ant", 50), ("bee", 200)):
            for number in range(count):
                write_image(root / split / name / f"{number:02d}.bmp", colour, number)
    return root


def run_on(root, name="it", loader="ffcv", **changes):
    """Six steps of eight images in two epochs."""
    data = {"data__name": "folder", "data__root": str(root), "data__stored_size": "16", "data__loader": loader, "train__batch_size": "8"}
    return train(name=name, **{**data, **changes})


def rename_a_class(root):
    for split in ("train", "test"):
        (root / split / "ant").rename(root / split / "wasp")


def add_a_class(root):
    for split in ("train", "test"):
        shutil.copytree(root / split / "ant", root / split / "cat")


def exchange_two_classes(root):
    for split in ("train", "test"):
        (root / split / "ant").rename(root / split / "other")
        (root / split / "bee").rename(root / split / "ant")
        (root / split / "other").rename(root / split / "bee")


def exchange_two_images(root):
    ant, bee = (root / "train" / name / "00.bmp" for name in ("ant", "bee"))
    before = ant.read_bytes()
    ant.write_bytes(bee.read_bytes())
    bee.write_bytes(before)


def add_images(root):
    for number in (20, 21, 22):
        write_image(root / "train" / "bee" / f"{number}.bmp", 200, number)


def remove_a_test_image(root):
    (root / "test" / "ant" / "00.bmp").unlink()


CHANGES = [
    (rename_a_class, '"ant" gone and "wasp" new'),
    (add_a_class, '"cat" new'),
    (exchange_two_classes, "other images or labels"),
    (exchange_two_images, "train has as many images of each class, but other images or labels"),
    (add_images, "train has 15 images of bee, and had 12"),
    (remove_a_test_image, "test has 3 images of ant, and had 4"),
]


@pytest.mark.parametrize("loader", ["ffcv", "torchvision"])
@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_run_is_not_resumed_on_other_data(folder, tmp_path, capsys, change, words, loader):
    assert run_on(folder, loader=loader, train__max_steps="2") == 0
    before = (tmp_path / "runs" / "it" / "metrics.jsonl").read_text()
    change(folder)
    capsys.readouterr()
    assert run_on(folder, loader=loader, checkpoint__resume="auto") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "--name=NEW --model.weights=it" in error
    assert (tmp_path / "runs" / "it" / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize("loader", ["ffcv", "torchvision"])
def test_a_run_resumes_on_a_copy_of_its_data_elsewhere(folder, tmp_path, loader):
    assert run_on(folder, "whole", loader) == 0
    assert run_on(folder, loader=loader, train__max_steps="2") == 0
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert run_on(tmp_path / "copy", loader=loader, checkpoint__resume="auto") == 0
    whole, resumed = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("whole", "it"))
    assert whole == resumed


def test_another_runs_checkpoint_needs_the_same_classes(folder, capsys):
    assert run_on(folder, train__epochs="1") == 0
    rename_a_class(folder)
    assert run_on(folder, "second", checkpoint__resume="it") == 2
    assert '"ant" gone and "wasp" new' in capsys.readouterr().err
    assert run_on(folder, "third", model__weights="it") == 0


def test_another_runs_checkpoint_goes_with_more_images_at_the_end_of_an_epoch_alone(folder, tmp_path, capsys):
    assert run_on(folder, "whole", train__epochs="1") == 0
    assert run_on(folder, "part", train__max_steps="2") == 0
    add_images(folder)
    assert run_on(folder, "second", checkpoint__resume="whole") == 0
    assert "the data has changed since the checkpoint: train has 15 images of bee, and had 12" in capsys.readouterr().out
    first, second = (newest(tmp_path / "runs" / name) for name in ("whole", "second"))
    assert (first["mean"], first["covariance"]) == (second["mean"], second["covariance"])  # as its weights were trained
    assert run_on(folder, "third", checkpoint__resume="part") == 2
    assert "train has 15 images of bee" in capsys.readouterr().err


def test_the_learning_rate_follows_the_epochs_where_a_resumed_run_has_other_steps(folder, tmp_path):
    cosine = {"optim__schedule": "cosine", "optim__lr": "0.01"}
    assert run_on(folder, "first", train__epochs="1", train__batch_size="4", **cosine) == 0  # six steps
    assert run_on(folder, "second", checkpoint__resume="first", train__batch_size="12", **cosine) == 0  # two
    rates = [row["lr"] for row in metrics(tmp_path / "runs" / "second")]
    assert rates == pytest.approx([0.005, 0.01 * (1 + np.cos(0.75 * np.pi)) / 2])
