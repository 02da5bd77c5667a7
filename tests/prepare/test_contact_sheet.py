"""The contact sheet of stored and augmented training images."""

import numpy as np
import pytest
from PIL import Image

from distalex.cli.main import main
from distalex.prepare.contact_sheet import CELL

NOISE = ["--data.name=synthetic", "--data.synthetic_images=12", "--data.image_size=64", "--data.stored_size=64"]


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def runs_of_ink(white):
    """How many stretches without white there are."""
    return int((np.diff(np.concatenate([[True], white]).astype(int)) == -1).sum())


def cells(path):
    """Rows and columns of images on a sheet: letters and gaps leave a line mostly white."""
    pixels = np.asarray(Image.open(path).convert("L")) > 250
    return runs_of_ink(pixels.mean(1) > 0.5), runs_of_ink(pixels.mean(0) > 0.5)


def test_a_sheet_has_a_row_for_each_image_and_a_column_for_each_epoch(capsys, tmp_path):
    assert main(["prepare", "show", *NOISE, "--count=3", "--epochs=4", "--data.augment=paper"]) == 0
    assert "drawn: contact-sheet.png: 3 of 12 training images, in the first 4 epochs" in capsys.readouterr().out
    assert cells("contact-sheet.png") == (3, 5)
    with Image.open("contact-sheet.png") as sheet:
        assert sheet.width == pytest.approx(5 * CELL * 120, abs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["contact-sheet.png"]


def test_a_file_of_prepared_images_is_shown_without_its_test_file(tmp_path):
    assert main(["prepare", "digits", "--out=mine.beton", "--split=train"]) == 0
    typed = ["mine.beton", "--out=sheets/mine.svg", "--count=2", "--epochs=1", "--data.mixup=1", "--data.cutout=0.3"]
    assert main(["prepare", "show", *typed]) == 0
    assert "<svg" in (tmp_path / "sheets" / "mine.svg").read_text()


def test_a_sheet_is_a_function_of_the_configuration_and_the_seed():
    sheets = []
    for name, change in {"a": "--seed=0", "b": "--seed=0", "c": "--seed=1", "d": "--data.augment=resized_crop"}.items():
        assert main(["prepare", "show", *NOISE, f"--out={name}.png", "--count=2", "--epochs=2", change]) == 0
        sheets.append(np.asarray(Image.open(f"{name}.png")))
    assert np.array_equal(sheets[0], sheets[1])
    assert not any(np.array_equal(sheets[0], other) for other in sheets[2:])


def test_a_shipped_configuration_is_shown():
    assert main(["prepare", "show", "--config=alexnet_paper", *NOISE, "--count=1", "--epochs=1"]) == 0


def test_help_lists_both_kinds_of_options(capsys):
    assert main(["prepare", "show", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"--{option}=" in said for option in ("out", "count", "epochs", "data.augment", "data.cutmix"))
    assert "--optim.lr" not in said
