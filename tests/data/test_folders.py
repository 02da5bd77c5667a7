"""Layouts of folders and archives."""

import json
import os
import tarfile
import unicodedata

import numpy as np
import pytest
from support.sources import BOTH, CLASSES, IMAGENET, JPEG, PAIRS, PNG, SPLITS, VALIDATION, found, tar, write

from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.data.splits import list_sources

SYNSETS = {f"n0000000{number}_{word}_{image}.JPEG": JPEG for number, word in enumerate(("crane", "crane")) for image in range(2)}
IMAGENETS = {"train": {"n00000000": 2, "n00000001": 2}, "test": {"n00000000": 1, "n00000001": 3}}
KAGGLE = "ImageId,PredictionString\n" + "".join(f"ILSVRC2012_val_0000000{n},n0000000{int(n > 1)} 1 2 3 4\n" for n in (2, 1, 3, 4))


def test_class_folders_nested_linked_and_in_upper_case(tmp_path):
    root = write(
        tmp_path / "root",
        {"ant/deep/deeper/1.JPG": JPEG, "ant/2.PnG": PNG, "Zoë/3.jpeg": JPEG, ".hidden/4.jpg": JPEG, "ant/notes.txt": b"x"},
    )
    elsewhere = write(tmp_path / "elsewhere", {"5.jpg": JPEG})
    (root / "bee").symlink_to(elsewhere)
    (root / "ant" / "6.jpg").symlink_to(elsewhere / "5.jpg")
    (root / "ant" / "circle").symlink_to(root)
    assert found(root) == {"all": {"ant": 3, "bee": 1, "Zoë": 1}}


def test_a_class_is_one_class_however_its_accents_are_written(tmp_path):
    composed, apart = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    root = write(tmp_path, {f"train/{composed}/1.jpg": JPEG, f"test/{apart}/1.jpg": JPEG, "train/a/1.jpg": JPEG, "test/a/1.jpg": JPEG})
    assert found(root) == {"train": {"a": 1, composed: 1}, "test": {"a": 1, composed: 1}}


def test_a_name_that_is_not_utf8_is_read_and_shown(tmp_path):
    root = write(tmp_path, {"ant/1.jpg": JPEG, "bee/1.jpg": JPEG})
    os.rename(os.fsencode(root / "bee" / "1.jpg"), os.fsencode(root / "bee") + b"/\xff.jpg")
    (source,) = list_sources(DataConfig(name="folder", root=str(root), stored_size=8))
    assert source.image(1).shape == (8, 8, 3)
    assert source.places(1).endswith("bee/\\xff.jpg")


@pytest.mark.parametrize("above", ["", "one/", "one/two/three/"])
def test_splits_are_found_below_folders_that_hold_nothing_else(tmp_path, above):
    root = write(tmp_path, {above + name: content for name, content in SPLITS.items()})
    assert found(root) == {"train": BOTH, "test": BOTH}


@pytest.mark.parametrize("kind", ["", ".gz", ".bz2", ".xz"])
def test_an_archive_is_the_folder_that_it_holds(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    assert found(tar(tmp_path / f"set.tar{kind}", SPLITS, f"w:{kind[1:]}" if kind else "w")) == {"train": BOTH, "test": BOTH}


def test_flat_synsets_have_the_class_of_their_names(tmp_path):
    assert found(tar(tmp_path / "sample.tar", {f"sample/{name}": content for name, content in SYNSETS.items()})) == {
        "all": {"n00000000_crane": 2, "n00000001_crane": 2}
    }


@pytest.mark.parametrize(
    ("labels", "content"),
    [
        ("LOC_val_solution.csv", KAGGLE),
        ("imagenet_2012_validation_synset_labels.txt", "n00000000\n" + "n00000001\n" * 3),
        ("val.txt", "".join(f"ILSVRC2012_val_0000000{n}.JPEG {int(n > 1)}\n" for n in range(1, 5))),
    ],
)
def test_imagenets_validation_images_are_labelled_by_a_file_beside_them(tmp_path, labels, content):
    assert found(write(tmp_path, IMAGENET | {labels: content.encode()}), name="imagenet") == IMAGENETS


def test_imagenets_devkit_names_its_numbers(tmp_path):
    from scipy.io import savemat

    synsets = np.array([(2, "n00000000"), (1, "n00000001")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    savemat(tmp_path / "meta.mat", {"synsets": synsets})
    root = write(tmp_path, IMAGENET | {"devkit/ILSVRC2012_validation_ground_truth.txt": b"2\n1\n1\n1\n"})
    assert found(root) == IMAGENETS


def test_imagenets_own_archives_are_read_in_place(tmp_path):
    classes = {
        f"n0000000{n}.tar": tar(tmp_path / "x.tar", {f"n0000000{n}_{p}.JPEG": JPEG for p in range(2)}).read_bytes() for n in range(2)
    }
    root = tmp_path / "root"
    tar(root / "ILSVRC2012_img_train.tar", classes)
    tar(root / "ILSVRC2012_img_val.tar", {name.removeprefix("val/"): content for name, content in VALIDATION.items()})
    labels = tmp_path / "labels.csv"
    labels.write_text(KAGGLE)
    assert found(root, labels=str(labels)) == IMAGENETS


@pytest.mark.parametrize("name", ["folder", "webdataset"])
def test_webdataset_shards_by_pattern_and_split(tmp_path, name):
    for shard in ("train-000", "train-001", "val-000"):
        tar(tmp_path / "shards" / f"{shard}.tar", PAIRS)
    assert found(tmp_path / "shards" / "train-{000..001}.tar", name) == {"all": {"0": 6, "10": 6}}
    assert found(tmp_path / "shards" / "train-*.tar", name) == {"all": {"0": 6, "10": 6}}
    assert found(tmp_path / "shards", name) == {"train": {"0": 6, "10": 6}, "test": {"0": 3, "10": 3}}


def test_webdataset_labels_may_be_json_and_numbers_are_in_order(tmp_path):
    pairs = {f"{n}.{s}": c for n in (2, 10, 1) for s, c in (("jpeg", JPEG), ("json", json.dumps({"label": n}).encode()))}
    (source,) = list_sources(DataConfig(name="webdataset", root=str(tar(tmp_path / "a.tar", pairs)), stored_size=8))
    assert source.classes == ("1", "2", "10")


def test_folders_of_shards_are_splits(tmp_path):
    for split in ("train", "val"):
        tar(tmp_path / "shards" / split / "000.tar", PAIRS)
    assert found(tmp_path / "shards") == {"train": {"0": 3, "10": 3}, "test": {"0": 3, "10": 3}}


def test_captions_beside_images_are_no_classes(tmp_path):
    assert found(write(tmp_path, CLASSES | {name.replace(".jpg", ".txt"): b"a caption" for name in CLASSES})) == {"all": BOTH}


def test_words_for_splits_inside_other_names_are_classes(tmp_path):
    root = write(tmp_path, {f"{name}/1.jpg": JPEG for name in ("freight train", "passenger train", "blood_test", "bus")})
    assert found(root) == {"all": {"freight train": 1, "passenger train": 1, "blood_test": 1, "bus": 1}}


@pytest.mark.parametrize(
    "names",
    [
        ("+", "-", "="),
        ("valid", "invalid"),
        ("mask", "no_mask"),
        ("with_mask", "without_mask"),
        ("train", "bus", "car"),
        ("raw", "cooked"),
        ("original", "forged"),
        ("c0", "c1"),
        ("Type_1", "Type_2"),
        ("0", "1", "10"),
        ("A", "B", "a"),
        ("кошка", "собака"),
        ("test_tube", "train"),
    ],
)
def test_names_that_differ_by_meaning_are_classes(tmp_path, names):
    root = write(tmp_path, {f"{name}/{number}.jpg": JPEG for name in names for number in range(2)})
    assert found(root) == {"all": dict.fromkeys(names, 2)}


def test_models_of_one_car_are_classes_below_splits(tmp_path):
    names = ("Audi S4 Sedan 2007", "Audi S4 Sedan 2012")
    root = write(tmp_path, {f"{split}/{name}/1.jpg": JPEG for split in ("train", "test") for name in names})
    assert found(root) == {"train": dict.fromkeys(names, 1), "test": dict.fromkeys(names, 1)}


def test_words_for_splits_in_the_folders_of_an_archive_are_classes_too(tmp_path):
    tar(tmp_path / "set.tar", {f"{name}/{number}.jpg": JPEG for name in ("freight-train", "blood_test") for number in range(2)})
    assert found(tmp_path) == {"all": {"freight-train": 2, "blood_test": 2}}


def test_what_desktops_leave_in_archives_is_no_class(tmp_path):
    extra = {"__MACOSX/ant/._0.jpg": b"x", ".ipynb_checkpoints/1.jpg": JPEG, "ant/.hidden/2.jpg": JPEG, "@eaDir/3.jpg": JPEG}
    assert found(tar(tmp_path / "a.tar", CLASSES | extra)) == {"all": BOTH}
    assert found(write(tmp_path / "folder", CLASSES | extra)) == {"all": BOTH}


def test_images_outside_of_the_layout_are_announced(tmp_path, capsys):
    root = write(tmp_path / "in", SPLITS | {"extra/1.jpg": JPEG, "loose.jpg": JPEG})
    assert main(["prepare", f"--root={root}", f"--out={tmp_path}/x.beton", "--size=8"]) == 0
    assert "left out 2: images outside of this layout (extra/1.jpg, loose.jpg)" in capsys.readouterr().out


@pytest.mark.parametrize("pattern", ["", "/*.tar.gz"])
def test_compressed_archives_in_a_folder_are_read(tmp_path, pattern, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    for split in ("train", "test"):
        tar(tmp_path / "in" / f"{split}.tar.gz", CLASSES, "w:gz")
    assert found(f"{tmp_path / 'in'}{pattern}") == {"train": BOTH, "test": BOTH}


def test_links_inside_an_archive_are_followed(tmp_path):
    path = tar(tmp_path / "a.tar", CLASSES)
    with tarfile.open(path, "a") as archive:
        for name, kind, target in (("bee/hard.jpg", tarfile.LNKTYPE, "ant/0.jpg"), ("bee/soft.jpg", tarfile.SYMTYPE, "../ant/1.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    assert found(path) == {"all": {"ant": 3, "bee": 5}}


@pytest.mark.parametrize(
    ("train", "other"), [("trainset", "testset"), ("训练集", "验证集"), ("train", "holdout"), ("Train Data", "Dev Data")]
)
def test_splits_have_many_names(tmp_path, train, other):
    listed = {f"{split}/{name}": content for split in (train, other) for name, content in CLASSES.items()}
    assert found(write(tmp_path, listed)) == {"train": BOTH, "test": BOTH}
