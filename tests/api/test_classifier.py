"""distalex.load(…).predict: whatever an image is in Python."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import distalex

NOISE = np.random.default_rng(0).integers(0, 256, (80, 72, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def net(photographed_run):
    return distalex.load(photographed_run, device="cpu")


def test_an_image_is_predicted_alike_in_every_form(net, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(NOISE).save(path)
    tensor = torch.from_numpy(NOISE).permute(2, 0, 1)
    forms = [Image.open(path), str(path), path, NOISE, tensor]
    predictions = net.predict(forms, top=2)
    assert [one.name for one in predictions] == ["image 0", str(path), str(path), "image 3", "image 4"]
    assert {tuple(one.top) for one in predictions} == {tuple(predictions[0].top)}
    assert [tuple(one.top) for one in net.predict(tensor[None].repeat(2, 1, 1, 1), top=2)] == [tuple(predictions[0].top)] * 2
    assert [net.predict(one, top=2)[0].top for one in forms] == [predictions[0].top] * 5


def test_a_prediction_has_label_probability_and_top(net):
    (one,) = net.predict(NOISE, top=3)
    assert one.top == [(one.label, one.probability), *one.top[1:]] and len(one.top) == 3
    assert {label for label, _ in one.top} == set(net.classes) == {"ant", "bee", "cat"}
    assert sum(share for _, share in one.top) == pytest.approx(1, abs=1e-5)
    assert repr(one).startswith(f"<image 0: {one.label} ")
    assert len(net.predict(NOISE, top=99)[0].top) == 3


def test_predicting_is_what_the_network_says_of_its_inputs(net):
    probabilities = net.net(net.inputs(NOISE)).softmax(1)[0]
    expected = {label: probabilities[place].item() for place, label in enumerate(net.classes)}
    assert dict(net.predict(NOISE)[0].top) == pytest.approx(expected, abs=1e-5)


def test_folders_and_empty_lists(net, photographs):
    assert len(net.predict(photographs / "test")) == 12
    assert [net.predict(nothing) for nothing in ([], (), np.zeros((0, 9, 9, 3), np.uint8), iter([]))] == [[]] * 4
    assert len(net.predict([photographs / "test" / "ant", NOISE])) == 5


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "LA", "PA"])
def test_a_pil_image_of_any_mode(net, mode):
    image = Image.new(mode, (40, 30))
    assert len(net.predict(image)) == 1
    assert image.size == (40, 30) and image.mode == mode


def test_the_users_image_stays_as_it_is(net, tmp_path):
    Image.fromarray(np.tile(NOISE, (8, 8, 1))).save(tmp_path / "large.jpg")
    image = Image.open(tmp_path / "large.jpg")
    size, array = image.size, NOISE.copy()
    net.predict([image, array])
    assert image.size == size and (array == NOISE).all()


REFUSED = {
    "channels first": (np.zeros((3, 9, 9), np.uint8), r"shape \(3, 9, 9\).*array.transpose\(1, 2, 0\)"),
    "an array that may be either": (np.zeros((3, 9, 3), np.uint8), "first or last"),
    "fractions": (np.zeros((9, 9, 3)), r"array of float64.*\(255 \* array\)"),
    "a normalised batch": (torch.zeros(2, 3, 9, 9), r"tensor of float32.*net\.net\(batch\)"),
    "channels last": (torch.zeros(2, 9, 9, 3, dtype=torch.uint8), r"tensor.permute\(0, 3, 1, 2\)"),
    "a missing file": ("nothing.jpg", "nothing.jpg: no such file"),
    "an address": ("https://example.org/a.jpg", "downloads nothing"),
    "a number": ([NOISE, 3], "image 1: int is not an image"),
    "nothing": (None, "NoneType is not an image"),
    "an empty path": ("", "an empty path"),
    "bytes": (b"abc", "bytes is not an image"),
    "a dict": ({"a": NOISE}, "dict is not an image"),
    "lists of numbers": ([[1, 2]], "list is not an image"),
    "no pixels": (Image.new("RGB", (0, 4)), "0x4 pixels"),
    "a text file": (Path(__file__), "not a readable image"),
    "objects": (np.array([None, None]), "array of object"),
}


@pytest.mark.parametrize("image", REFUSED)
def test_what_is_no_image_is_refused_in_one_line(net, image):
    given, words = REFUSED[image]
    with pytest.raises(distalex.UserError, match=words) as refused:
        net.predict(given)
    assert "\n" not in str(refused.value)


def test_a_notebook_shows_predictions_and_a_script_keeps_them(net):
    predictions = net.predict([NOISE] * 3)
    assert predictions._repr_png_().startswith(b"\x89PNG") and net.predict([])._repr_png_() is None
    assert pickle.loads(pickle.dumps(predictions)) == predictions and len(repr(predictions).splitlines()) == 5


@pytest.mark.parametrize(
    ("place", "words"), [("no-such-run", "no such run or checkpoint"), (3, "3: a run, its folder"), ("", "a run, its")]
)
def test_a_run_that_is_missing_is_refused(place, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(distalex.UserError, match=words):
        distalex.load(place)
    with pytest.raises(distalex.UserError, match="holds no run with a checkpoint"):
        distalex.load()


def test_a_network_is_evaluated_and_exported(photographed_run, tmp_path):
    from support.runs import copy_run

    run = copy_run(photographed_run, tmp_path / "runs" / "it")
    net = distalex.load("it", runs_dir=tmp_path / "runs", device="cpu")
    assert net.path.parent.parent == run and net.step == 1
    first, second = net.evaluate(), distalex.evaluate(run, device="cpu")
    assert first.count == 12 and first.loss == second.loss
    assert net.export(tmp_path / "net.safetensors").is_file()
    with pytest.raises(distalex.UserError, match=r"net\.gif: unknown extension"):
        net.export(tmp_path / "net.gif")
