"""Published layouts: each is read with its classes and splits, or refused with the ways out."""

from pathlib import Path

import pytest
from support.layout_files import Made, zipped
from support.layouts_read import READ
from support.layouts_refused import REFUSED, REPORTED
from support.runs import REPOSITORY
from support.sources import found, write

from distalex.cli.main import main
from distalex.errors import UserError


def laid_out(made: Made, at: Path) -> Path:
    return write(at, made) if isinstance(made, dict) else made(at)


@pytest.mark.parametrize("name", READ)
def test_a_published_layout_is_read(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    made, expected = READ[name]
    assert found(laid_out(made, tmp_path / "in")) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_a_layout_that_may_mean_several_things_is_refused_with_the_ways_out(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    made, words = REFUSED[name]
    assert main(["prepare", str(laid_out(made, tmp_path / "in")), "--dry_run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not [word for word in words if word not in error], error


@pytest.mark.parametrize("report", REPORTED)
def test_what_others_reported_is_read_or_refused_with_the_ways_out(report, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    made, expected = REPORTED[report]
    root = laid_out(made, tmp_path / "in")
    if isinstance(expected, dict):
        assert found(root) == expected
    else:
        with pytest.raises(UserError) as refused:
            found(root)
        assert not [word for word in expected if word not in str(refused.value)], refused.value


@pytest.mark.parametrize("archived", [False, True])
def test_the_advice_of_a_refusal_is_an_option_of_prepare_and_leads_to_the_right_classes(archived, tmp_path, capsys):
    made = REFUSED["several tables"][0]
    assert isinstance(made, dict)
    root = write(tmp_path, {"a.zip": zipped(made)}) / "a.zip" if archived else write(tmp_path / "in", made)
    assert main(["prepare", str(root), "--dry_run"]) == 2
    advice = capsys.readouterr().err.rpartition("choose the table with ")[2].strip()
    assert main(["prepare", str(root), "--dry_run", f"--{advice}"]) == 0
    assert "images labelled by by_sex.csv" in capsys.readouterr().out
    assert main(["train", str(root), "--dry_run", f"--{advice}"]) == 0


def test_the_page_of_layouts_lists_each():
    page = (REPOSITORY / "docs" / "layouts.md").read_text()
    cells = [cell.strip() for line in page.splitlines() if line.startswith("| ") for cell in line.split("|")[1].split(",")]
    assert not [name for name in (*READ, *REFUSED) if name not in page and name not in cells]
