"""Tables of images."""

import sys

import pytest
from support.sources import BOTH, CLASSES, JPEG, found, write

from distalex.cli.main import main
from distalex.errors import UserError


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables_list_paths_classes_and_splits(tmp_path, suffix):
    write(tmp_path / "pics", CLASSES)
    rows = [(f"pics/{name}", name[:3], "valid" if "2" in name else "train") for name in CLASSES]
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(
            pyarrow.table(dict(zip(("image", "label", "split"), map(list, zip(*rows, strict=True)), strict=True))), path
        )
    else:
        lines = [("label", "extra", "Path", "split"), *((label, "", name, split) for name, label, split in rows)]
        path.write_text("\n".join({"csv": ",", "tsv": "\t"}[suffix].join(line) for line in lines), encoding="utf-8-sig")
    assert found(path) == {"train": {"ant": 2, "bee": 2}, "test": {"ant": 1, "bee": 1}}


def test_of_a_tables_val_and_test_rows_the_latter_test(tmp_path):
    write(tmp_path, CLASSES)
    splits = {"0": "train", "1": "val", "2": "test"}
    (tmp_path / "list.csv").write_text("path,label,split\n" + "".join(f"{name},{name[:3]},{splits[name[4]]}\n" for name in CLASSES))
    assert found(tmp_path / "list.csv") == {"train": {"ant": 1, "bee": 1}, "test": {"ant": 1, "bee": 1}}


def test_a_table_needs_no_header(tmp_path):
    write(tmp_path, CLASSES)
    (tmp_path / "list.csv").write_text("".join(f'"{name}",{name[:3]}\n' for name in CLASSES))
    assert found(tmp_path / "list.csv") == {"all": BOTH}


def test_a_column_named_picture_holds_paths(tmp_path):
    write(tmp_path, CLASSES)
    (tmp_path / "list.csv").write_text("id,picture,label\n" + "".join(f"x,{name},{name[:3]}\n" for name in CLASSES))
    assert found(tmp_path / "list.csv") == {"all": BOTH}


LISTED = [(f"pics/{name}", name[:3]) for name in CLASSES]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_any_delimiter_and_unicode_is_read(tmp_path, delimiter, encoding):
    write(tmp_path / "pics", CLASSES)
    text = "\r\n".join(delimiter.join(row) for row in [("File Name", "Class"), *LISTED])
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert found(tmp_path / "list.csv") == {"all": BOTH}


@pytest.mark.parametrize(
    "place", ["pics\\{}", ".\\pics\\{}", "C:\\Users\\me\\set\\pics\\{}", "/home/me/set/pics/{}", "{}", "https://host/x/{}?v=1"]
)
def test_paths_of_windows_and_of_other_machines_are_found(tmp_path, place):
    write(tmp_path / "pics", CLASSES)
    rows = [f"{place.format(name.replace('/', chr(92)) if chr(92) in place else name)},{name[:3]}" for name in CLASSES]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    assert found(tmp_path / "list.csv") == {"all": BOTH}


def test_names_as_a_browser_writes_them_are_found(tmp_path):
    write(tmp_path, {f"a b/é {number}.jpg": JPEG for number in range(6)})
    rows = [f"a%20b/%C3%A9%20{number}.jpg,{'ab'[number % 2]}" for number in range(6)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))
    assert found(tmp_path) == {"all": {"a": 3, "b": 3}}


@pytest.mark.parametrize(
    ("named", "label"),
    [
        ("image_id", "breed"),
        ("Image Index", "target"),
        ("Image Index", "Finding Labels"),
        ("id_code", "diagnosis"),
        ("fname", "className"),
        ("archivo", "etiqueta"),
    ],
)
def test_columns_are_known_by_what_their_names_mean_and_ids_need_no_suffix(tmp_path, named, label):
    write(tmp_path / "train", {f"a{number}.jpg": JPEG for number in range(6)})
    rows = [f"7,a{number},{'ab'[number % 2]},2020" for number in range(6)]
    (tmp_path / "train_labels.csv").write_text("\n".join([f"extra,{named},{label},year", *rows]))
    for root in (tmp_path, tmp_path / "train_labels.csv"):
        assert found(root) == {"all": {"a": 3, "b": 3}}


def test_the_users_columns_settle_what_names_do_not(tmp_path):
    write(tmp_path, {f"{number}.jpg": JPEG for number in range(6)})
    rows = [f"{number}.jpg,{'xy'[number % 2]},{'ab'[number // 3]},{'train' if number % 3 else 'test'}" for number in range(6)]
    (tmp_path / "t.csv").write_text("\n".join(["what,one,other,kind of", *rows]))
    by_other = {"train": {"a": 2, "b": 2}, "test": {"a": 1, "b": 1}}
    for root in (tmp_path, tmp_path / "t.csv"):
        assert found(root, columns="path:what,label:one") == {"all": {"x": 3, "y": 3}}
        assert found(root, columns={"path": "what", "label": "other", "split": "kind of"}) == by_other
        assert found(root, columns="path:1,label:3") == {"all": {"a": 3, "b": 3}}
        with pytest.raises(UserError, match=r"label:size: .*t\.csv has no such column; its columns are what, one, other, kind of"):
            found(root, columns="path:what,label:size")


@pytest.mark.parametrize(
    "rows",
    [
        ["0 pics/0.jpg a", "1 pics/1.jpg b", "2 pics/2.jpg a", "3 pics/3.jpg b"],
        ["pics/0.jpg a", "pics/1.jpg b", "pics/2.jpg a", "pics/3.jpg b"],
        ["PICS/0.JPG,a", "PICS/1.JPG,b", "PICS/2.JPG,a", "PICS/3.JPG,b"],
    ],
)
def test_rows_of_numbers_paths_and_classes_in_any_case_are_read(tmp_path, rows):
    write(tmp_path / "pics", {f"{number}.jpg": JPEG for number in range(4)})
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert found(tmp_path) == {"all": {"a": 2, "b": 2}}


@pytest.mark.parametrize("header", ["label", "tags"])
@pytest.mark.parametrize("several", ["a|b", "a; c", "a, b", "a b", "16 0", '["a", "c"]', "{'a': 1, 'c': 0}"])
def test_a_label_that_is_several_classes_is_refused(tmp_path, header, several):
    write(tmp_path, {f"{number}.jpg": JPEG for number in range(6)})
    (tmp_path / "t.tsv").write_text("\n".join([f"file\t{header}", *(f"{n}.jpg\t{('a', 'b', several)[n % 3]}" for n in range(6))]))
    for root in (tmp_path, tmp_path / "t.tsv"):
        with pytest.raises(UserError, match=r"is several classes, and an image has one here.*data\.columns"):
            found(root)


@pytest.mark.parametrize(
    "names", [("maillot", "maillot, tank suit"), ("dog", "hot dog"), ("Birch, silver", "Oak, red"), ("1", "-1"), ("a|b", "c|d")]
)
def test_classes_of_several_words_are_one(tmp_path, names):
    write(tmp_path, {f"{number}.jpg": JPEG for number in range(6)})
    (tmp_path / "t.tsv").write_text("\n".join(["file\tlabel", *(f"{number}.jpg\t{names[number % 2]}" for number in range(6))]))
    assert found(tmp_path) == {"all": dict.fromkeys(sorted(names), 3)}


def test_the_users_columns_are_those_of_one_table_and_others_split(tmp_path):
    write(tmp_path, {f"{number}.jpg": JPEG for number in range(6)})
    (tmp_path / "t.csv").write_text("\n".join(["image_id,bald,male", *(f"{n}.jpg,{n % 3 % 2},{n % 2}" for n in range(6))]))
    (tmp_path / "train_list.txt").write_text("0.jpg\n1.jpg\n2.jpg\n3.jpg\n")
    (tmp_path / "test_list.txt").write_text("4.jpg\n5.jpg\n")
    assert found(tmp_path, columns="path:image_id,label:male") == {"train": {"0": 2, "1": 2}, "test": {"0": 1, "1": 1}}


def test_columns_without_a_path_are_refused(capsys):
    assert main(["train", "--data.root=.", "--data.columns=label:x"]) == 2
    assert "data.columns=label:x: columns of path and label are needed" in capsys.readouterr().err


def test_a_table_elsewhere_labels_the_images_of_a_folder(tmp_path):
    root = write(tmp_path / "in", {f"camera{number % 2}/{number}.jpg": JPEG for number in range(6)})
    write(tmp_path, {"labels.csv": b"image,label\n" + b"".join(b"%d,%s\n" % (n, b"ab"[n // 3 : n // 3 + 1]) for n in range(6))})
    assert found(root, labels=str(tmp_path / "labels.csv")) == {"all": {"a": 3, "b": 3}}


def test_parquet_without_pyarrow_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for root in (tmp_path, tmp_path / "a.parquet"):
        with pytest.raises(UserError, match=r"a\.parquet: .*pip install pyarrow"):
            found(root)


def test_what_was_looked_at_is_said_where_no_table_fits(tmp_path):
    write(tmp_path, {"1.jpg": JPEG, "other.csv": b"image,label\nx.jpg,a\n", "classes.xlsx": b"PK", "annotations.xml": b"<a/>"})
    with pytest.raises(UserError) as refused:
        found(tmp_path)
    assert "other.csv names none of the images: its columns are image, label" in str(refused.value)
    assert "classes.xlsx is a spreadsheet: save it as CSV" in str(refused.value)
    assert "annotations.xml is XML, which is not read: save it as CSV" in str(refused.value)
