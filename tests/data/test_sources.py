"""What each kind of source declares, and the number of classes that is known before training."""

import pytest
from support.data import prepared
from support.sources import CLASSES, PAIRS, tar, write

from distalex.cli.main import main
from distalex.config.choices import declared_in
from distalex.config.data import DataConfig
from distalex.data.splits import classes_of, source_module

SOURCES = declared_in("data/sources")


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_declares_what_others_read_of_it(name):
    facts = SOURCES[name].facts
    assert SOURCES[name].meaning.endswith(".")
    assert {"CLASSES", "STORED_SIDE", "PHOTOGRAPHS", "NEEDS", "TAKES"} <= set(facts)
    assert {*facts["NEEDS"], *facts["TAKES"]} <= set(DataConfig.model_fields)
    assert hasattr(source_module(name), "open_prepared" if facts.get("PREPARED") else "open_source")


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("cifar100", 100), ("digits", 10), ("synthetic", 7)])
def test_the_classes_of_a_named_set_are_known_without_it(name, count):
    assert classes_of(DataConfig(name=name, root="/nowhere", synthetic_classes=7)) == count


def test_the_classes_of_what_lies_at_a_root_are_counted(tmp_path):
    root = str(write(tmp_path / "folder", CLASSES | {"cat/1.jpg": CLASSES["ant/0.jpg"]}))
    assert classes_of(DataConfig(name="folder", root=root)) == classes_of(DataConfig(name="imagenet", root=root)) == 3
    assert classes_of(DataConfig(name="webdataset", root=str(tar(tmp_path / "a.tar", PAIRS)))) == 2
    assert prepared(f"--root={root}", f"--out={tmp_path}/x.beton", "--per_file=3") == 0
    assert classes_of(DataConfig(name="beton", train=f"{tmp_path}/x.beton")) == 3


def test_the_classes_of_what_is_not_there_are_unknown_or_imagenets():
    assert classes_of(DataConfig(name="imagenet", root="/nowhere")) == 1000
    for options in ({"name": "folder", "root": "/nowhere"}, {"name": "beton", "train": "/nowhere.beton"}):
        assert classes_of(DataConfig(**options)) is None
    assert classes_of(DataConfig(name="torchvision", dataset="Flowers102")) is None


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["--data.name=webdataset"], ["data.root=DIR"]),
        (["--data.name=torchvision"], ["data.dataset=NAME", "Flowers102"]),
        (["--data.name=beton"], ["data.train=FILE.beton"]),
        (["--data.name=digits", "--data.dataset=Flowers102"], ["data.dataset=Flowers102", "data.name=torchvision"]),
        (["--data.name=webdataset", "--data.root=.", "--data.labels=val.txt"], ["data.labels=val.txt", "folder or imagenet"]),
        (["--data.name=cifar10", "--data.test=x.beton"], ["data.test=x.beton", "data.name=beton"]),
    ],
)
def test_options_that_a_source_needs_or_does_not_take_are_named(typed, named, capsys):
    assert main(["train", *typed]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in named)


def test_prepared_files_are_not_prepared_again(capsys):
    assert main(["prepare", "beton", "--out=x.beton"]) == 2
    assert "source=beton" in capsys.readouterr().err
