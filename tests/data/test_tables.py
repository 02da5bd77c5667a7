"""Tables of images."""

import pytest
from support.sources import BOTH, CLASSES, found, write


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
