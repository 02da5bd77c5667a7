"""The pages as a site: built without a warning, and read on a phone."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from support.runs import REPOSITORY, options

from distalex.cli.main import main


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(REPOSITORY / ".mkdocs" / "mkdocs.yml"), "-d", str(folder)]
    built = subprocess.run(mkdocs, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert built.returncode == 0, built.stderr
    return folder


def test_links_and_anchors_hold_and_those_that_leave_docs_lead_to_pages_of_what_they_name(site):
    start = (site / "index.html").read_text()
    assert 'href="parallelism.html"' in start and 'src="images/two_columns.svg"' in start
    assert 'href="files/distalex/parallel/columns.py.html"' in (site / "parallelism.html").read_text()
    assert "distalex.parallel.columns.split_into_columns" in (site / "api.html").read_text()


def test_every_table_is_a_table(site):
    """One that follows a line without a blank line between them stays text."""
    for path in site.glob("*.html"):
        assert "| ---" not in path.read_text() and "|---" not in path.read_text(), path.name


def test_no_option_can_break_in_its_middle(site):
    """A browser breaks a line after a hyphen, except in words that may not wrap."""
    seen = 0
    for path in site.glob("*.html"):
        for code in re.findall(r"<code>(.*?)</code>", path.read_text(), re.DOTALL):
            words = re.findall(r'<span class="word">([^<]*)</span>', code)
            options = re.findall(r"--[a-z][\w.-]*", re.sub(r"<[^>]*>", "", code))
            assert len(options) == len(re.findall(r"--[a-z]", " ".join(words))), code
            seen += len(options)
    assert seen > 100
    assert ".word { white-space: nowrap; }" in (site / "site.css").read_text()


PHONE = """<body><script>
  (async () => {
    for (const page of PAGES) {
      const frame = Object.assign(document.createElement("iframe"), {width: 390, height: 800, src: page});
      document.body.append(frame);
      await new Promise((done) => (frame.onload = () => setTimeout(done, 100)));
      const {scrollWidth, clientWidth} = frame.contentDocument.documentElement;
      const blocks = [...frame.contentDocument.querySelectorAll("pre, pre > code")];
      const cut = blocks.filter((block) => block.scrollWidth > block.clientWidth + 1).length;
      document.body.append(`PAGE ${page} ${scrollWidth - clientWidth} ${cut} `);
      frame.remove();
    }
  })();
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here; ./launch/test.sh installs it as root")
def test_no_page_is_wider_than_a_phone_and_no_block_of_code_is_cut_off(site):
    pages = sorted(path.name for path in site.glob("*.html"))
    (site / "phone.html").write_text(PHONE.replace("PAGES", json.dumps(pages)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--allow-file-access-from-files"]
    command = ["chromium", *options, "--window-size=600,900", "--virtual-time-budget=60000", "--dump-dom", f"file://{site}/phone.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (site / "phone.html").unlink()
    found = re.findall(r"PAGE (\S+) (-?\d+) (\d+) ", done.stdout)
    assert [page for page, _, _ in found] == pages, done.stderr[-500:]
    assert not [page for page, wider, cut in found if (int(wider), int(cut)) != (0, 0)]


def test_the_picture_of_two_columns_has_a_frame_for_each_checkpoint_and_the_bytes_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", parallel="none", train__epochs="1", checkpoint__every_steps="1")]) == 0
    spec = importlib.util.spec_from_file_location("two_columns", REPOSITORY / "docs" / "images" / "two_columns.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    run = tmp_path / "runs" / "it"
    with pytest.raises(SystemExit, match="not trained as two columns"):
        script.draw_training(run)
    sent = {"conv3": 1_100_000, "fc6": 2_200, "fc7": 330, "fc8": 44}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps({**row, "comm_bytes_by": sent}) + "\n" for row in rows))
    drawn = script.draw_training(run)
    assert drawn == script.draw_training(run)
    assert drawn.count('<g class="frame"') == 2
    assert drawn.count('<g class="frame last"') == 1
    for words in ("conv3</tspan> 1.1 MB", "fc6</tspan> 2.2 kB", "fc7</tspan> 330 B", "fc8</tspan> 44 B", "Step 3 of 3"):
        assert words in drawn, words
    ElementTree.fromstring(drawn)


def test_the_picture_of_two_columns_is_small_enough_for_a_readme():
    picture = REPOSITORY / "docs" / "images" / "two_columns.svg"
    assert picture.stat().st_size < 400_000
    ElementTree.fromstring(picture.read_text())
