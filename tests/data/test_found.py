"""What is recognised at a root: printed before any work, and the same for every command."""

import io
import os
import resource
import sys
from pathlib import Path

import pytest
from support.data import QUIET, opened, prepared
from support.layout_files import zipped
from support.layouts_read import READ
from support.runs import small
from support.sources import BOTH, CLASSES, JPEG, PAIRS, PNG, SPLITS, found, tar, write

from distalex.cli.main import entry, main
from distalex.config.data import DataConfig
from distalex.config.loading import load_config
from distalex.data.splits import classes_of, find, list_sources
from distalex.errors import UserError
from distalex.files import locked
from distalex.predict.images import files_named

HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


def test_a_dry_run_prints_the_layout_the_splits_the_classes_and_what_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    extra = {f"train/ant/{number}.HEIC": HEIC for number in range(4)} | {"extra/x.jpg": JPEG}
    root = write(tmp_path / "in", SPLITS | extra)
    assert main(["prepare", str(root), "--dry_run"]) == 0
    assert capsys.readouterr().out == (
        f"found class folders in train/, test/ at {root}\n"
        "  images   6 training, 6 test\n"
        "  classes  2: ant (3 + 3), bee (3 + 3)\n"
        "  left out 1: images outside of this layout (extra/x.jpg)\n"
        "  left out 4: HEIC, which needs: pip install pillow-heif (train/ant/0.HEIC, train/ant/1.HEIC, train/ant/2.HEIC, …)\n"
    )
    assert not list((tmp_path / "data").rglob("*.beton"))


def test_of_many_classes_the_first_and_the_last_are_printed(tmp_path):
    root = write(tmp_path, {f"class{number:02d}/1.jpg": JPEG for number in range(40)})
    line = find(DataConfig(root=str(root))).describe().splitlines()[2]
    assert line.startswith("  classes  40: class00 (1), class01 (1), ")
    assert line.endswith("class05 (1), …, class36 (1), class37 (1), class38 (1), class39 (1)")


def test_preparing_and_training_print_it_before_they_work(tmp_path, alone, capsys):
    root = write(tmp_path / "in", CLASSES)
    assert prepared(str(root), f"--out={tmp_path}/x.beton") == 0
    assert capsys.readouterr().out.startswith(f"found class folders at {root}\n")
    stored = {"data__name": "beton", "data__train": f"{tmp_path}/x.beton", "data__test": f"{tmp_path}/x.beton"}
    for options, classes in (({"data__name": "folder", "data__root": str(root)}, "ant (3)"), (stored, "ant (3 + 3)")):
        said: list[str] = []
        opened(small(**options), alone, said.append)
        assert said[0].startswith("found ")
        assert f"  classes  2: {classes}, bee" in said[0]


def test_a_folder_alone_means_that_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("pics"), CLASSES)
    assert load_config(overrides={"data.root": "pics"}).data.name == "folder"
    assert classes_of(load_config(overrides={"data.root": "pics"}).data) == 2
    write(Path("sets"), READ["CIFAR-10 for Python"][0])
    assert load_config(overrides={"data.root": "sets"}).data.name == "cifar10"
    assert load_config(overrides={"data.root": "sets/cifar-10-batches-py"}).data.name == "cifar10"


def test_the_dry_run_of_a_folder_counts_its_classes(tmp_path, capsys):
    assert main(["train", str(write(tmp_path, CLASSES)), "--dry_run"]) == 0
    assert "224x224, 2 classes:" in capsys.readouterr().out
    (tmp_path / "ant" / "0.jpg").rename(tmp_path / "0.jpg")
    assert main(["train", str(write(tmp_path / "test", {"1.jpg": JPEG}).parent), "--dry_run"]) == 2
    assert "test/ is named as a split" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_folder_that_is_not_there_is_named(command, capsys):
    assert main([command, "nowhere"]) == 2
    assert "nowhere: " in capsys.readouterr().err


def test_a_named_set_that_is_not_there_says_what_is(tmp_path, capsys):
    root = write(tmp_path, CLASSES)
    assert main(["prepare", "cifar10", f"--root={root}"]) == 2
    assert "holds no CIFAR-10; " in (error := capsys.readouterr().err)
    assert "there are class folders of 2 classes (ant, bee, …), which data.name=folder reads" in error


def test_a_folder_is_not_ignored_by_a_set_that_reads_none(tmp_path, capsys):
    root = write(tmp_path, CLASSES)
    assert main(["prepare", "digits", str(root)]) == 2
    assert "data.name=digits reads no folder; remove it, or use data.name=folder for what lies there" in capsys.readouterr().err


def test_files_are_images_by_content_where_their_names_say_nothing(tmp_path):
    named = {"ant/a.jpg?w=300": JPEG, "ant/b.jpg_large": JPEG, "ant/c": PNG, "bee/d.JPG.jpeg.download": JPEG, "bee/notes": b"hello"}
    root = write(tmp_path, CLASSES | named | {"bee/e.jxl": b"\xff\x0a" + bytes(9), "bee/f.mp4": b"x", "bee/Thumbs.db": b"x"})
    assert found(root) == {"all": {"ant": 6, "bee": 4}}
    left_out = find(DataConfig(root=str(root))).left_out
    assert left_out == {"JPEG XL, which needs: pip install pillow-jxl-plugin": ["bee/e.jxl"], "films, which are not read": ["bee/f.mp4"]}


def test_predicting_takes_the_files_that_training_takes(tmp_path, capsys):
    root = write(
        tmp_path / "in", {"ant/1.jpg": JPEG, "ant/._1.jpg": b"x", ".ipynb_checkpoints/2.jpg": JPEG, "ant/noext": PNG, "h.heic": HEIC}
    )
    (root / "linked").symlink_to(write(tmp_path / "elsewhere", {"3.jpg": JPEG}))
    names = [os.path.relpath(file.name, root) for file in files_named([str(root)])]
    assert names == ["ant/1.jpg", "ant/noext", "linked/3.jpg"]
    assert "1 of HEIC, which needs" in capsys.readouterr().err


def test_more_archives_are_read_than_files_may_be_open(tmp_path):
    for shard in range(80):
        tar(tmp_path / f"{shard:04d}.tar", {f"{shard}_{name}": content for name, content in PAIRS.items()})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        assert found(tmp_path) == {"all": {"0": 240, "10": 240}}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_pattern_below_a_folder_with_brackets_is_found(tmp_path):
    tar(tmp_path / "my [2024] #1" / "part-000.tar", PAIRS)
    assert found(tmp_path / "my [2024] #1" / "part-*.tar") == {"all": {"0": 3, "10": 3}}
    write(tmp_path / "dir [1]", {"y.jpg": JPEG})
    assert [file.name for file in files_named([f"{tmp_path}/dir [1]/*.jpg"])] == [f"{tmp_path}/dir [1]/y.jpg"]


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(write(tmp_path, {f"pics/{name}": content for name, content in CLASSES.items()}))
    (tmp_path / "mine.yaml").write_text("data: {root: ~/pics}\nruns_dir: ~/runs\n")
    for config in (load_config("~/mine.yaml"), load_config(overrides={"data.root": "~/pics", "runs_dir": "~/runs"})):
        assert (config.data.root, config.data.name, config.runs_dir) == (f"{tmp_path}/pics", "folder", f"{tmp_path}/runs")
    monkeypatch.setenv("DISTALEX_DATA", "~/data")
    assert prepared("--root=~/pics") == 0
    assert list((tmp_path / "data" / "prepared").glob("*.beton"))
    assert not (tmp_path / "~").exists()


def test_a_zip_is_read_in_place_and_a_damaged_one_is_named(tmp_path):
    content = zipped(CLASSES)
    assert found(write(tmp_path, {"a.zip": content}) / "a.zip") == {"all": BOTH}
    write(
        tmp_path,
        {"half.zip": content[: len(content) // 2], "odd.zip": content.replace(JPEG[:20], bytes(20)), "b.zip": zipped(CLASSES, True)},
    )
    with pytest.raises(UserError, match=r"half\.zip: not a whole zip archive"):
        find(DataConfig(root=str(tmp_path / "half.zip")))
    write(tmp_path, {"b.zip": zipped(CLASSES, stored=True).replace(JPEG[100:120], bytes(20))})
    with pytest.raises(UserError, match=r"b\.zip: ant/0\.jpg: .*its checksum does not fit"):
        find(DataConfig(root=str(tmp_path / "b.zip"))).sources[0].image(0)


def test_an_entry_outside_of_a_zip_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.\./evil\.jpg lies outside of the archive"):
        found(write(tmp_path, {"a.zip": zipped(CLASSES | {"../evil.jpg": JPEG})}) / "a.zip")


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "a/b")

    monkeypatch.setattr("distalex.data.layouts.recognise.open_files", refuse)
    with pytest.raises(UserError, match=r"^a/b: cannot be read \(Permission denied\); make it readable"):
        find(DataConfig(root=str(tmp_path)))


def test_a_lock_of_another_user_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", lambda path, *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied", path)))
    with (
        pytest.raises(UserError, match=r"x\.lock: cannot be opened \(Permission denied\); have its owner share"),
        locked(tmp_path / "x.lock", QUIET),
    ):
        pass


def test_names_are_printed_in_a_locale_without_their_letters(tmp_path, monkeypatch):
    root = write(tmp_path / "in", {"é/1.jpg": JPEG, "b/1.jpg": JPEG})
    monkeypatch.setattr(sys, "argv", ["distalex", "prepare", str(root), "--dry_run"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written := io.BytesIO(), encoding="ascii"))
    with pytest.raises(SystemExit, match="0"):
        entry()
    sys.stdout.flush()
    assert b"\\xe9 (1)" in written.getvalue()


@pytest.mark.parametrize(
    ("class_from", "expected"),
    [("top_folder", {"a": 2, "b": 2}), ("last_folder", {"x": 2, "y": 2}), ("file_name", {"cat": 2, "dog": 2})],
)
def test_the_user_may_say_where_the_class_stands(tmp_path, class_from, expected):
    names = [f"{top}/{last}/{'cat' if last == 'x' else 'dog'}_{top == 'a':03d}.jpg" for top in "ab" for last in "xy"]
    assert found(write(tmp_path, dict.fromkeys(names, JPEG)), class_from=class_from) == {"all": expected}


def test_a_prepared_file_as_a_root_is_told_where_it_goes(tmp_path):
    write(tmp_path, {"mine.beton": b"FFCV"})
    with pytest.raises(UserError, match=r"data\.root=.*mine\.beton: already a prepared file; use --data\.name=beton --data\.train="):
        list_sources(DataConfig(name="folder", root=str(tmp_path / "mine.beton")))
