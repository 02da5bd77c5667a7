"""Formatting of tables, sizes and counts, and figures that are saved."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.cells import cell_len

from distalex.console import aligned, bytes_text, counted, shortened
from distalex.errors import UserError, brief
from distalex.files import save_figure


def test_a_table_has_columns_as_wide_as_they_need():
    rows = [["name", "count", "note"], ["a", "1,000", ""], ["bcdef", "2", "x"]]
    assert aligned(rows) == "name   count  note\na      1,000\nbcdef      2     x"
    assert aligned(rows, left=(-1,)) == " name  count  note\n    a  1,000\nbcdef      2  x"


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (999, "999 B"), (1500, "1.5 kB"), (31_100_000, "31.1 MB"), (2.5e12, "2,500.0 GB")])
def test_bytes_have_a_decimal_unit(count, text):
    assert bytes_text(count) == text


def test_a_count_has_its_noun():
    assert [counted(count, "step") for count in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]


@pytest.mark.parametrize("path", ["figure.xyz", "/proc/figure.png"])
def test_a_figure_that_cannot_be_written_is_refused(path):
    with pytest.raises(UserError, match=rf"^out={path}: "):
        save_figure(Figure(), Path(path), "out")


def test_a_figure_has_the_format_of_its_name(tmp_path):
    save_figure(Figure(), tmp_path / "new" / "figure.svg", "out")
    assert b"<svg" in (tmp_path / "new" / "figure.svg").read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["figure.svg"]


def test_tables_are_aligned_whatever_the_script():
    lines = aligned([("kot", "1"), ("日本", "22")]).splitlines()
    assert [cell_len(line) for line in lines] == [8, 8]


@pytest.mark.parametrize(
    ("text", "middle", "short"),
    [
        ("a name", False, "a name"),
        ("a long name.jpg", False, "a long…"),
        ("a long name.jpg", True, "a l….jpg"),
        ("日本語日本語", False, "日本語…"),
        ("日本語日本語", True, "日…本語"),
    ],
)
def test_what_is_too_wide_is_cut(text, middle, short):
    assert shortened(text, 8, middle) == short
    assert cell_len(short) <= 8


def test_a_long_reason_ends_between_words_and_an_empty_one_is_its_errors_name():
    assert brief(OSError("no\n  space")) == "no space"
    assert brief(KeyError()) == "KeyError"
    long = brief(OSError("word " * 100), 22)
    assert long == "word word word word …"
    assert brief("a" * 300) == "a" * 198 + " …"
