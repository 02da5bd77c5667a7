"""Predicting images: whatever names them, whichever way the answer is wanted."""

import csv
import io
import json
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from rich.cells import cell_len
from support.runs import copy_run

from distalex.cli.main import main
from distalex.predict.drawing import LINE
from distalex.predict.drawing import _title as title
from distalex.predict.neighbours import FeatureIndex
from distalex.predict.predictions import Prediction


@pytest.fixture
def run(tmp_path, photographs, photographed_run, monkeypatch):
    """A network trained for a step on 3 classes, in the current folder, with its images in images/."""
    monkeypatch.chdir(tmp_path)
    copy_run(photographed_run, tmp_path / "runs" / "it")
    shutil.copytree(photographs / "test", tmp_path / "images")
    return tmp_path


def predicted(capsys, *words):
    capsys.readouterr()
    assert main(["predict", "it", *words]) == 0
    return capsys.readouterr()


def test_archives_name_images_as_folders_do(run, capsys):
    """An archive, and a folder of archives, which training reads too."""
    of_files = sorted(json.loads(line)["probabilities"] for line in predicted(capsys, "images", "--json").out.splitlines())
    (run / "archives").mkdir()
    shutil.make_archive(str(run / "archives" / "photos"), "zip", run / "images")
    for word in ("archives/photos.zip", "archives"):
        lines = [json.loads(line) for line in predicted(capsys, word, "--json").out.splitlines()]
        assert sorted(line["probabilities"] for line in lines) == of_files
        assert all("photos.zip" in line["name"] for line in lines)


def test_files_folders_and_patterns_name_images(run, capsys):
    (run / "images" / "notes.txt").write_text("not an image, and not read")
    inside = sorted(str(path.relative_to(run)) for path in (run / "images").glob("*/*.*"))
    named = [json.loads(line)["name"] for line in predicted(capsys, "images", "--json").out.splitlines()]
    assert named == inside
    cats = [json.loads(line)["name"] for line in predicted(capsys, "images/cat/*.jpg", inside[0], "--json").out.splitlines()]
    assert cats == [*(name for name in inside if "/cat/" in name and name.endswith(".jpg")), inside[0]]


def test_a_file_and_standard_input_give_the_same_prediction(run, capsys):
    path = next((run / "images" / "cat").glob("*.jpg"))
    named = json.loads(predicted(capsys, str(path), "--json").out)
    command = [sys.executable, "-m", "distalex.predict", "it", "-", "--json"]
    done = subprocess.run(command, input=path.read_bytes(), capture_output=True, cwd=run)
    assert done.returncode == 0, done.stderr
    assert {**json.loads(done.stdout), "name": named["name"]} == named


def test_a_table_has_a_row_for_each_image(run, capsys):
    rows = list(csv.DictReader(io.StringIO(predicted(capsys, "images", "--csv").out)))
    assert len(rows) == 12
    assert list(rows[0]) == ["name", "actual", "label1", "probability1", "label2", "probability2", "label3", "probability3"]
    assert all(sum(float(row[f"probability{rank}"]) for rank in (1, 2, 3)) == pytest.approx(1, abs=1e-5) for row in rows)
    known = list(csv.DictReader(io.StringIO(predicted(capsys, "--csv", "--count=5").out)))
    assert {row["actual"] for row in known} <= {"ant", "bee", "cat"}


def test_a_training_image_is_its_own_nearest_neighbour(run, photographs, capsys):
    for name in ("ant", "bee"):
        shutil.copytree(photographs / "train" / name, run / "known" / name)
    for line in predicted(capsys, "known", "--neighbours=1", "--json").out.splitlines():
        found = json.loads(line)
        assert found["neighbours"] == [found["name"].split("/")[1]]
    (row, *_) = csv.DictReader(io.StringIO(predicted(capsys, "known", "--neighbours=1", "--csv").out))
    assert row["neighbour1"] == row["name"].split("/")[1]
    assert "; nearest: " in predicted(capsys, "known", "--neighbours=2").out


def test_the_nearest_are_those_at_the_least_distance():
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    places, apart = FeatureIndex(torch.arange(3).numpy(), (0, 1, 0), features).nearest(torch.tensor([[0.0, 0.0]]), 5)
    assert places.tolist() == [[0, 2, 1]]
    assert apart.tolist() == [[0.0, 1.0, 5.0]]


def test_an_unreadable_file_is_left_out_of_a_folder_and_refused_by_name(run, capsys):
    (run / "images" / "cat" / "bad.jpg").write_bytes(b"no image")
    said = predicted(capsys, "images", "--json")
    assert len(said.out.splitlines()) == 12
    assert "left out: images/cat/bad.jpg: not a readable image" in said.err
    assert main(["predict", "it", "images/cat/bad.jpg"]) == 2
    (run / "only").mkdir()
    (run / "only" / "bad.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert main(["predict", "it", "only"]) == 2
    assert "none of the 1 file(s) is a readable image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["https://example.org/cat.jpg"], "curl -O https://example.org/cat.jpg"),
        (["nothing/*.jpg"], "nothing/*.jpg: no file matches"),
        (["empty"], "empty: no image there"),
        (["a.jpg", "--csv", "--json"], "csv=true and json_lines=true"),
        (["-x"], "options have two dashes"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, words, says, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["predict", "it", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_a_drawing_of_many_images_has_the_first_hundred(run, capsys):
    for number in range(30):
        shutil.copytree(run / "images" / "cat", run / "many" / str(number))
    assert "many.png, the first 100" in predicted(capsys, "many", "--save=many.png").out
    with Image.open("many.png") as image:
        assert image.height > 5000


def test_a_title_says_how_sure_and_is_coloured_only_where_the_answer_is_known():
    known = [Prediction("it", ("ant", "bee"), (0.75, 0.25), actual) for actual in ("ant", "bee")]
    assert [title(one) for one in known] == [
        ("predicted: ant 75.0 %\nactual: ant", "darkgreen"),
        ("predicted: ant 75.0 %\nactual: bee", "firebrick"),
    ]
    assert title(Prediction("a/b.jpg", ("ant",), (1.0,))) == ("b.jpg\nant 100.0 %", "black")


@pytest.mark.parametrize("letter", ["w", "語"])
def test_long_names_fit_over_an_image(letter):
    for actual in (None, 90 * letter):
        lines, _ = title(Prediction(f"{90 * letter}.jpg", (90 * letter,), (0.5,), actual))
        assert all(cell_len(line) <= LINE for line in lines.splitlines())
        assert "50.0 %" in lines


def test_names_that_matplotlib_would_take_for_formulas_are_drawn_as_they_stand(run, capsys):
    path = next((run / "images" / "cat").glob("*.jpg"))
    shutil.copy(path, run / "a $\\frac{$ 語.jpg")
    predicted(capsys, "a $\\frac{$ 語.jpg", "--save=drawn.svg")


def test_folders_named_after_classes_give_the_actual_labels(run, capsys):
    said = predicted(capsys, "images").out.splitlines()
    told = [line for line in said if ": predicted " in line]
    right = sum(line.endswith(" - right") for line in told)
    assert said[-1].startswith(f"{right} of {len(told)} right, by the names of their folders (")
    rows = list(csv.reader(io.StringIO(predicted(capsys, "images", "--csv").out)))
    assert {row[1] for row in rows[1:]} == {"ant", "bee", "cat"}
    (run / "images" / "ant").rename(run / "images" / "wasp")  # no class of the run
    assert "actual" not in predicted(capsys, "images").out


def test_test_images_are_named_by_their_files(run, capsys, photographs):
    lines = predicted(capsys, "--count=3").out.splitlines()[-4:-1]
    assert all(line.startswith(str(photographs / "test")) and ": predicted " in line for line in lines), lines
