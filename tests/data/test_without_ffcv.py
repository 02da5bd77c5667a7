"""Where FFCV cannot be imported, as on other systems than Linux: what serves, and what is refused."""

import sys

import pytest
from support.runs import metrics, options

from distalex.cli.main import main


@pytest.fixture
def no_ffcv(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ffcv", None)
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


DIGITS = {"data__name": "digits", "data__workers": "1", "train__max_steps": "2", "data__fraction": "0.05"}


def test_torchvisions_loader_serves_the_same_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="with", **DIGITS)]) == 0
    assert "loader=ffcv" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "ffcv", None)
    assert main(["train", *options(name="without", **DIGITS)]) == 0
    said = capsys.readouterr().out
    assert said.count("FFCV cannot be imported (import of ffcv halted") == 1
    assert "loader=torchvision" in said and "loader=ffcv" not in said
    losses = [[row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("without", "with")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6) and len(losses[0]) == 2


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["prepare", "digits", "--out=a.beton"], "original images, which need none: data.root=DIR"),
        (["train", *options(**DIGITS, data__encoding="jpg")], "data.encoding=jpg: is a matter of prepared files, which need FFCV"),
        (["train", *options(**DIGITS, data__skip_bad="true")], "data.skip_bad=true: is a matter of prepared files, which need FFCV"),
    ],
)
def test_what_needs_ffcv_is_refused_in_one_line(no_ffcv, tmp_path, capsys, words, refused):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert refused in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists() and not (tmp_path / "a.beton").exists()


def test_a_prepared_file_is_refused_with_the_way_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "digits", "--out=a.beton"]) == 0
    monkeypatch.setitem(sys.modules, "ffcv", None)
    capsys.readouterr()
    assert main(["train", "--data.name=beton", "--data.train=a.beton", "--train.max_steps=1"]) == 2
    error = capsys.readouterr().err
    assert "prepared files (.beton) need FFCV" in error and error.count("\n") == 1
