"""What cannot be read is refused in one line."""

import io
import json
import os
import pickle
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data import opened
from support.runs import small
from support.sources import CLASSES, IMAGENET, JPEG, PAIRS, PNG, SPLITS, archive, at_root, encoded, files, image, rows, write

from distalex.cli.main import main
from distalex.data.files import archives
from distalex.data.files.archives import archive_files
from distalex.errors import UserError

# What is refused.


def png_that_claims(width: int, height: int) -> bytes:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG[33:]


def middle(content: bytes) -> bytes:
    """Rubbish over the header of the second of three JPEG files."""
    second = 512 + -(-len(JPEG) // 512) * 512
    return content[:second] + random.Random(0).randbytes(512) + content[second + 512 :]


def pipe(at: Path) -> list[str]:
    root = write(at / "in", CLASSES)
    os.mkfifo(root / "bee" / "pipe.jpg")
    return ["folder", f"--root={root}"]


def broken_link(at: Path) -> list[str]:
    root = write(at / "in", CLASSES)
    (root / "bee" / "link.jpg").symlink_to(root / "gone.jpg")
    return ["folder", f"--root={root}"]


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


GOOD = ("ant/0.jpg,ant,train", "bee/0.jpg,bee,train", "ant/1.jpg,ant,test", "bee/1.jpg,bee,test")
REFUSED: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "nothing there": (lambda at: ["folder", f"--root={at}/in"], "no such file or folder"),
    "no root": (lambda at: ["folder"], "--root is missing"),
    "a text": (at_root("notes.md", b"hello"), "notes.md: not a folder, tar archive or table"),
    "an empty folder": (lambda at: ["folder", f"--root={(at / 'in').mkdir() or at / 'in'}"], "none of its 0 files is an image"),
    "no image": (files({"ant/a.txt": b"x", "bee/b.txt": b"x"}), "none of its 2 files is an image"),
    "one class": (files({"ant/1.jpg": JPEG, "ant/2.jpg": JPEG}), "only ant/"),
    "a class without images": (files(CLASSES | {"cat/notes.txt": b"x"}), "class folder cat/ holds no image"),
    "an empty class": (files(CLASSES | {"cat/.gitkeep": b""}), "class folder cat/ holds no image"),
    "names without classes": (files({f"{n}_{n % 2}_x.jpg": JPEG for n in range(4)}, "--data.class_from=file_name"), "a class of its own"),
    "no classes": (files({"1.jpg": JPEG, "2.jpg": JPEG}), "two or more class folders"),
    "other classes in the test set": (
        files(SPLITS | {"test/cat/1.jpg": JPEG}),
        "differ in their classes: cat has 1 test image and no training image",
    ),
    "an empty class folder of the training set": (
        files(SPLITS | {"train/cat/.gitkeep": b"", "test/cat/1.jpg": JPEG}),
        "class folder train/cat/ holds no image",
    ),
    "a test set without classes": (
        files({"train/" + name: JPEG for name in CLASSES} | {"test/1.jpg": JPEG}),
        "test/ holds images without class",
    ),
    "an empty file": (image(b""), "an empty file"),
    "zeros": (image(bytes(4096)), "nothing but zero bytes"),
    "a web page": (image(b"<!DOCTYPE html><p>404"), "a web page"),
    "a pointer": (image(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
    "a drawing": (image(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "a drawing"),
    "heic": (image(b"\0\0\0\x18ftypheic" + bytes(99)), "HEIC"),
    "words": (image(b"these are words"), "not a known image format"),
    "half a jpeg": (image(JPEG[: len(JPEG) * 3 // 4]), "truncated"),
    "half a png": (image(PNG[: len(PNG) // 2]), "truncated"),
    "a jpeg header alone": (image(b"\xff\xd8\xff\xe0 no"), "damaged"),
    "a damaged png": (image(PNG[:60] + b"\xff" * 40 + PNG[100:]), "damaged"),
    "a bomb": (image(png_that_claims(100_000, 100_000)), "decompression bomb"),
    "no numbers": (image(encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")), "not numbers"),
    "a pipe": (pipe, "not a regular file"),
    "a broken link": (broken_link, "No such file"),
    "a truncated tar": (archive(CLASSES, lambda content: content[: len(content) // 2 - 700]), "not a whole tar archive"),
    "a tar cut between files": (archive(CLASSES, lambda content: content[: 512 + -(-len(JPEG) // 512) * 512]), "before its end mark"),
    "rubbish in a tar": (archive(CLASSES, middle), "damaged in the middle"),
    "an empty tar": (archive({}, lambda _: b""), "an empty file"),
    "a tar that escapes": (archive(CLASSES | {"../../evil.jpg": JPEG}), "../../evil.jpg lies outside"),
    "a tar with absolute names": (archive(CLASSES | {"/etc/evil.jpg": JPEG}), "/etc/evil.jpg lies outside"),
    "half a compressed tar": (archive(CLASSES, lambda content: content[: len(content) // 2], "a.tar.gz"), "cannot be decompressed"),
    "a table of something": (at_root("list.csv", b"a,b\nc,d\n"), "a header with path and label"),
    "an empty table": (at_root("list.csv", b"path,label\n"), "holds no row"),
    "a table that is not utf-8": (at_root("list.csv", b"path,label\nant/0.jpg,\xff\xfe\n"), "not UTF-8 at byte 21"),
    "a short row": (rows(*GOOD, "ant/2.jpg"), "line 6: 1 cell(s)"),
    "a row without class": (rows(*GOOD, "ant/2.jpg,,train"), "line 6: an empty class"),
    "a row twice": (rows(*GOOD, GOOD[0]), "line 6: ant/0.jpg is listed in line 2 already"),
    "a missing image": (rows(*GOOD, "gone.jpg,ant,train"), "line 6: gone.jpg: not a readable image (No such file"),
    "an unknown split": (rows(*GOOD, "ant/2.jpg,ant,holiday"), "split 'holiday'"),
    "some rows without split": (rows(*GOOD, "ant/2.jpg,ant,"), "some rows have a split and others do not"),
    "an open quote": (rows(*GOOD, '"ant/2.jpg,ant,train'), "line 6: unexpected end of data"),
    "no parquet": (at_root("list.parquet", b"PAR1 not"), "not a Parquet file"),
    "a pair without class": (archive(PAIRS | {"x.jpg": JPEG}), "x.jpg: has no label beside it"),
    "a json without class": (archive(PAIRS | {"x.jpg": JPEG, "x.json": b"{}"}), "x.json: holds no label (no key"),
    "a label of many lines": (archive(PAIRS | {"x.jpg": JPEG, "x.txt": b"a\nb"}), "a label is one line"),
    "pickles that run": (files({f"data_batch_{n}": pickle.dumps(Evil()) for n in range(1, 6)}), "does not belong in a CIFAR file"),
    "half pickles": (files({"data_batch_1": pickle.dumps({"data": np.zeros((9, 3072), np.uint8)})[:500]}), "not a CIFAR-10 batch"),
    "validation without labels": (files(IMAGENET), "the classes of its validation images"),
    "too few labels": (files(IMAGENET | {"val.txt": b"n00000000\n"}), "1 lines for 4 validation images"),
    "labels of other classes": (files(IMAGENET | {"val.txt": b"n00000009\n" * 4}), "n00000009, which is none of the 2"),
    "numbers without devkit": (files(IMAGENET | {"val.txt": b"1\n" * 4}), "meta.mat"),
    "labels that are not there": (files(IMAGENET, "--labels=/nowhere.csv"), "data.labels=/nowhere.csv"),
    "an unknown set": (lambda at: ["torchvision", "--dataset=FashionMINST"], "did you mean FashionMNIST"),
    "a lone image": (files({"ant/1.jpg": JPEG, "bee/1.jpg": JPEG}, "--holdout=0.5"), "two are needed where a test set"),
    "a class that is nothing": (archive(PAIRS | {"x.jpg": JPEG, "x.json": b'{"label": null}'}), "a word or a number is needed, found null"),
    "labels for class folders": (files(CLASSES, "--labels=/nowhere.csv"), "data.labels=/nowhere.csv"),
    "a label without class": (
        files(IMAGENET | {"val.txt": b"ILSVRC2012_val_00000001.JPEG n00000000\nILSVRC2012_val_00000002.JPEG\n"}),
        "row 2",
    ),
    "quality 0": (files(CLASSES, "--quality=0"), "quality=0"),
    "an unknown encoding": (files(CLASSES, "--encoding=gif"), "must be one of raw, jpg, mixed"),
    "nothing readable": (files({"ant/1.jpg": b"", "bee/1.jpg": b""}, "--skip_bad"), "none of the 2 images is readable"),
}


def reported(mistake: str, at: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that `prepare` prints for a mistake that is made in the folder `at`."""
    assert main(["prepare", *REFUSED[mistake][0](at), f"--out={at}/out/x.beton", "--size=8"]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_read_is_one_line_and_leaves_nothing(mistake, tmp_path, capsys, monkeypatch):
    """With what is wrong and where, and a way out after a semicolon."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    error = reported(mistake, tmp_path, capsys)
    assert REFUSED[mistake][1] in error
    assert error.count("\n") == 1, error
    assert "; " in error or "must be one of" in error, "no way out"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "ran").exists()


def test_bad_images_are_skipped_counted_and_listed(tmp_path, capsys):
    bad = {"bee/empty.jpg": b"", "ant/half.jpg": JPEG[:400], "ant/words.png": b"words"}
    root = write(tmp_path / "in", CLASSES | bad)
    out = tmp_path / "x.beton"
    assert main(["prepare", f"--root={root}", f"--out={out}", "--size=8", "--skip_bad", "--workers=2"]) == 0
    said = capsys.readouterr().out
    assert "3 of 9 images were skipped" in said
    assert all(name in said for name in bad)
    listed = json.loads((tmp_path / "x.beton.json").read_text())
    assert sum(listed["counts"]) == 6
    assert sorted(line.split(": ")[0].removeprefix(f"{root}/") for line in listed["skipped"]) == sorted(bad)
    assert main(["prepare", "check", str(out)]) == 0
    assert "6 images" in capsys.readouterr().out


def test_training_skips_bad_images_only_when_told(tmp_path, alone):
    root = write(tmp_path / "in", SPLITS | {"train/bee/empty.jpg": b""})
    options = {"data__name": "folder", "data__root": str(root), "data__stored_size": "64"}
    said: list[str] = []

    def count(**more):
        return opened(small(**options, **more), alone, said.append).train.count

    with pytest.raises(UserError, match="an empty file"):
        count()
    assert count(data__skip_bad="true") == 6
    assert any("1 of 7 images were skipped" in line for line in said)
    with pytest.raises(UserError, match="an empty file"):
        count()


def test_a_long_archives_list_is_read_again_only_where_it_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(archives, "MIN_MEMBERS_TO_CACHE", 2)
    archive = tmp_path / "set.tar"

    def pack(names):
        with tarfile.open(archive, "w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))

    pack(["a/1.png", "a/2.png", "b/3.png"])
    first = archive_files([archive], str(archive))
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_members", None)  # would fail if it were called
        again = archive_files([archive], str(archive))
    assert list(again.names) == list(first.names) == ["a/1.png", "a/2.png", "b/3.png"]
    assert again.read("b/3.png") == b"b/3.png"
    pack(["a/1.png", "c/4.png", "c/5.png", "c/6.png"])
    assert list(archive_files([archive], str(archive)).names) == ["a/1.png", "c/4.png", "c/5.png", "c/6.png"]
