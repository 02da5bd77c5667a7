"""The tables of measurements say what their files say."""

import subprocess
import sys

from support.runs import REPOSITORY


def test_every_table_is_the_one_that_its_files_give():
    script = REPOSITORY / "docs" / "benchmarks" / "tables.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    assert sum(page.read_text().count("<!-- table: ") for page in pages) >= 6
