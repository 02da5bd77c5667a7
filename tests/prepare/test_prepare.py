"""`prepare`: what is written, kept and replaced."""

import shutil
from pathlib import Path

from PIL import Image
from support.data import opened, prepared
from support.runs import small

from distalex.data.beton.sidecar import read_prepared


def test_changed_images_are_prepared_again_and_equal_names_are_not_equal_images(tmp_path, alone, monkeypatch):
    def fill(folder: Path, value: int) -> None:
        for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
            (folder / "pics" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (64, 64), value).save(folder / "pics" / name)

    def mean(folder: Path) -> float:
        monkeypatch.chdir(folder)
        settings = small(data__name="folder", data__root="pics", data__stored_size="64", data__loader="ffcv")
        return opened(settings, alone).statistics.mean[0]

    for folder, value in (("one", 50), ("two", 90)):
        fill(tmp_path / folder, value)
        assert mean(tmp_path / folder) == value
    fill(tmp_path / "one", 130)
    assert mean(tmp_path / "one") == 130


def test_a_name_stands_for_what_was_written_last(photographs, tmp_path, capsys):
    """Whole files, several of them and test files of earlier preparings are refused, or with --overwrite replaced together."""
    out, root = tmp_path / "x.beton", f"--root={photographs / 'train'}"
    assert prepared(root, f"--out={out}", "--holdout=0.25") == 0
    assert prepared(root, f"--out={out}", "--per_file=20") == 2
    assert "x.beton: exists" in capsys.readouterr().err
    assert prepared(root, f"--out={out}", "--per_file=20", "--encoding=jpg", "--overwrite") == 0
    assert read_prepared(out).info.encoding == "jpg"
    assert sorted(path.name for path in tmp_path.glob("*.beton")) == ["x-00000-of-00002.beton", "x-00001-of-00002.beton"]
    assert prepared(root, f"--out={out}", "--per_file=9") == 2
    (tmp_path / "x-00001-of-00002.beton").unlink()
    capsys.readouterr()
    assert prepared(f"--root={photographs / 'test'}", f"--out={out}", "--per_file=6") == 2
    assert "x-00000-of-00002.beton: holds other images" in capsys.readouterr().err
    assert prepared(root, f"--out={out}", "--per_file=20", "--encoding=jpg") == 0
    assert len(read_prepared(out).info) == 36
    (tmp_path / "y.test.beton").write_bytes(b"")
    assert prepared(root, f"--out={tmp_path / 'y.beton'}") == 2
    assert "would be used as the test images" in capsys.readouterr().err


def test_what_cannot_replace_a_file_leaves_it(photographs, tmp_path):
    out = tmp_path / "x.beton"
    assert prepared(f"--root={photographs / 'train'}", f"--out={out}") == 0
    before = out.read_bytes()
    shutil.copytree(photographs / "train", tmp_path / "bad")
    (tmp_path / "bad" / "ant" / "bad.png").write_bytes(b"")
    assert prepared(f"--root={tmp_path / 'bad'}", f"--out={out}", "--overwrite") == 2
    assert out.read_bytes() == before
    read_prepared(out)
