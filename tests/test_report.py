"""The page of a run: complete, self-contained, and made of whatever is there."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from html.parser import HTMLParser

import pytest
from conftest import options

from distalex.cli.main import main
from distalex.config.loading import load_config
from distalex.report import curves, mesh
from distalex.report.history import is_running, read_history
from distalex.report.page import MARK, Looked, render


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Page(HTMLParser):
    """Tags, ids and text of a page; raises where tags do not close in turn."""

    VOID = ("meta", "img", "br", "line", "rect", "circle", "polyline", "polygon", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def page_of(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", text), "something would be fetched"
    assert "url(" not in text
    assert "@import" not in text
    assert all(image["alt"] for image in page.of("img"))
    assert all(drawing.get("aria-label") or drawing.get("aria-labelledby") for drawing in page.of("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = [value for _, attributes in page.tags for key in ("aria-labelledby", "aria-describedby") if (value := attributes.get(key))]
    assert set(referred) <= set(ids)
    return page


def numbers_in(path):
    return json.loads(re.search(r'id="numbers">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def write_run(folder, rows=(), **values):
    """A run of files alone."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(load_config(None, {"data.name": "digits", **values}).dump())
    (folder / "metrics.jsonl").write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return folder


def trained(step, loss=1.0, **values):
    return {"kind": "train", "step": step, "epoch": 1, "loss": loss, "top1": 50.0, "lr": 0.1, "images_per_second": 10.0, **values}


def test_a_run_becomes_one_page_that_needs_nothing_else(tmp_path, capsys):
    assert main(["train", *options(name="it", parallel="none")]) == 0
    assert main(["report", "it", "--images=7", "--searched=9"]) == 0
    page = page_of(tmp_path / "runs" / "it" / "report.html")
    assert "written: runs/it/report.html" in capsys.readouterr().out
    for words in ("finished at step 6", "7 of the 10 test images", "of 9)", "column 1", "Taken for another most", "--name=it-again"):
        assert words in " ".join(page.text.split()).replace("Column", "column"), words
    drawn = numbers_in(tmp_path / "runs" / "it" / "report.html")
    loss = next(panel for panel in drawn.values() if panel["unit"] == "cross-entropy")
    rows = [json.loads(line) for line in (tmp_path / "runs" / "it" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert [step for step, _ in loss["curves"][0]["points"]] == steps
    assert loss["curves"][1]["points"][-1][1] == pytest.approx([row["loss"] for row in rows if row["kind"] == "eval"][-1], rel=1e-4)


def test_what_the_page_says_of_the_test_set_is_what_evaluate_says(tmp_path, capsys):
    assert main(["train", *options(name="it", parallel="none")]) == 0
    assert main(["evaluate", "it"]) == 0
    assert main(["report", "it"]) == 0
    found = json.loads((tmp_path / "runs" / "it" / "evaluation.json").read_text())
    text = " ".join(page_of(tmp_path / "runs" / "it" / "report.html").text.split())
    assert f"top-1 {found['top1']:.2f} %, top-5 {found['top5']:.2f} %, loss {found['loss']:.4f}" in text


def test_several_runs_are_told_apart_by_their_options(tmp_path):
    write_run(tmp_path / "runs" / "one", [trained(1), trained(2)])
    write_run(tmp_path / "runs" / "two", [trained(1), trained(2, 0.5)], **{"optim.lr": "0.5", "name": "two"})
    assert main(["report", "one", "two", "--out=both.html"]) == 0
    page = page_of(tmp_path / "both.html")
    assert "optim.lr" in page.text
    assert "0.5" in page.text
    assert "train.epochs" not in page.text
    assert [len(panel["curves"]) for panel in numbers_in(tmp_path / "both.html").values()][:2] == [2, 2]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no step has been logged yet"),
        ([trained(1), trained(2, None), trained(3)], "1 logged step(s) is not finite, first of step 2"),
        ([trained(1, None)], "first of step 1"),
        ([trained(1), '{"kind": "train", "st'], "1 line(s) are no JSON objects"),
        (["\x00\xff\n", "[1]\n", "null\n"], "3 line(s) are no JSON objects"),
        ([{"kind": "train"}, {"step": "x"}, {"kind": "eval", "step": 2, "top1": None}], "stopped at step 2"),
        ([trained(1, float("1e300")), trained(2, -5.0)], "stopped at step 2"),
        ([trained(1, "text", lr=True)], "stopped at step 1"),
    ],
)
def test_whatever_a_run_left_makes_a_page(tmp_path, rows, says):
    write_run(tmp_path / "runs" / "it", rows)
    assert main(["report", "it"]) == 0
    page = page_of(tmp_path / "runs" / "it" / "report.html")
    assert says in " ".join(page.text.split())
    assert "Nothing was seen through its network" in page.text


def test_a_run_whose_options_and_checkpoints_are_damaged_makes_a_page(tmp_path):
    assert main(["train", *options(name="it", parallel="none")]) == 0
    folder = tmp_path / "runs" / "it"
    (folder / "config.yaml").write_text("model: [")
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    (folder / "starts.jsonl").write_text('{"replicas": "many", "columns": null, "processes": {}}\n')
    assert main(["report", "it"]) == 0
    text = page_of(folder / "report.html").text
    assert "its options are not known" in text
    assert "Nothing was seen through its network" in text


def test_names_and_options_cannot_put_tags_into_the_page(tmp_path):
    folder = write_run(tmp_path / "runs" / "it", [trained(1)])
    evil = "</script><script>alert(1)</script><img src=http://x>"
    (folder / "config.yaml").write_text(f"data: {{root: {json.dumps(evil)}}}\n")
    (folder / "starts.jsonl").write_text(json.dumps({"device": evil, "parallel": evil, "host": evil}) + "\n")
    (folder / "metrics.jsonl").write_text(json.dumps(trained(1, comm_bytes_by={evil: 1}, comm_exposed_by={evil: 1})) + "\n")
    text = render([read_history("it", "runs")], Looked(note=evil))
    assert "alert(1)</script>" not in text
    assert "<img" not in text
    Page(text)


def test_a_very_long_run_is_drawn_with_few_points(tmp_path):
    write_run(tmp_path / "runs" / "it", [trained(step, 100.0 / step) for step in range(1, 50_001)])
    run = read_history("it", "runs")
    (loss, *_) = curves.panels([run])
    points = loss.curves[0].points
    assert 250 <= len(points) <= 301
    assert points[-1].step == 50_000
    assert points[0].largest == 100.0
    assert len(render([run], Looked())) < 300_000


def test_neighbouring_steps_are_drawn_as_their_mean_with_its_band_and_gaps_stay():
    values = [(1, 1.0), (2, 3.0), (3, None), (4, 5.0), (5, 7.0), (6, 7.0)]
    assert curves.thin(values, most=3) == (
        curves.Point(2, 2.0, 1.0, 3.0),
        curves.Point(4, 5.0, 5.0, 5.0),
        None,
        curves.Point(6, 7.0, 7.0, 7.0),
    )
    assert curves.thin([]) == ()


def test_the_drawing_shows_who_holds_what_and_what_crosses(tmp_path):
    sent = {"conv3": 1_000_000, "gradients": 2_500_000}
    row = trained(1, comm_bytes_by=sent, comm_exposed_by={"conv3": 0.01, "gradients": None})
    folder = write_run(tmp_path / "runs" / "it", [row])
    start = {"parallel": "hybrid", "processes": 4, "processes_a_node": 4, "replicas": 2, "columns": 2}
    (folder / "starts.jsonl").write_text(json.dumps(start) + "\n")
    drawing = mesh.draw(read_history("it", "runs"))
    for words in ("rank 3", "column 2 of 2", "conv3", "1.0 MB, 1.0 % exposed", "gradients 2.5 MB"):
        assert words in drawing, words
    assert main(["report", "it"]) == 0
    text = page_of(folder / "report.html").text
    assert "torchrun --standalone --nproc_per_node=4 -m distalex.train --config=runs/it/config.yaml" in text


def test_nothing_else_is_written_over(tmp_path, capsys):
    write_run(tmp_path / "runs" / "it", [trained(1)])
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    assert main(["report", "it", "--out=mine.html"]) == 2
    assert "mine.html: exists and is not a page that distalex wrote" in capsys.readouterr().err
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    for _ in range(2):
        assert main(["report", "it", "--out=ours.html"]) == 0
    assert MARK in (tmp_path / "ours.html").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "RUN is missing"),
        (["none"], "none: no such run"),
        (["it", "--out=page.txt"], "ending in .html"),
        (["it", "--images=-1"], "images=-1"),
        (["it", "--watsch"], "watsch"),
        (["it", "--out=/proc/page.html"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, words, says, capsys):
    write_run(tmp_path / "runs" / "it")
    assert main(["report", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_a_watched_run_is_written_until_it_ends(tmp_path):
    folder = write_run(tmp_path / "runs" / "it", [trained(1)])
    lock = folder.with_name(".it.lock")
    lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    assert is_running(folder)
    seen = []

    def end():
        page = folder / "report.html"
        while not page.exists():
            time.sleep(0.05)
        seen.append(page.read_text())
        lock.unlink()

    threading.Thread(target=end).start()
    assert main(["report", "it", "--watch", "--every=1"]) == 0
    assert 'http-equiv="refresh"' in seen[0]
    assert "running, step 1" in seen[0]
    assert 'http-equiv="refresh"' not in (folder / "report.html").read_text()
    lock.write_text(f"process 999999999 on {socket.gethostname()}\n")
    assert not is_running(folder)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here; ./launch/test.sh installs it as root")
def test_a_browser_reads_values_out(tmp_path):
    folder = write_run(tmp_path / "runs" / "it", [trained(step, 3.0 / step) for step in (10, 20, 40)])
    assert main(["report", "it"]) == 0
    press = """<script>
      window.onerror = (message) => document.body.append("BRO" + "KEN: " + message);
      document.getElementById("panel0").dispatchEvent(new KeyboardEvent("keydown", {key: "End"}));
      document.getElementById("panel0").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
      const drawing = document.querySelector("#panel1 svg"), box = drawing.getBoundingClientRect();
      drawing.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + 0.97 * box.width, clientY: box.top + 20}));
      document.body.dataset.wide = document.documentElement.scrollWidth > window.innerWidth;
    </script></body>"""
    page = (folder / "report.html").read_text()
    (tmp_path / "pressed.html").write_text(page.replace("</body>", press))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=500,900", "--dump-dom"]
    done = subprocess.run([*command, f"file://{tmp_path}/pressed.html"], capture_output=True, text=True, timeout=120)
    assert "BROKEN: " not in done.stdout
    reads = re.findall(r'id="panel[01]-reads"[^>]*>([^<]*)<', done.stdout)
    assert reads == ["step 20: training 0.15 (cross-entropy)", "step 40: training 50 (%)"]
    assert 'data-wide="false"' in done.stdout, "a phone would have to scroll sideways"


def test_what_a_gpu_cannot_tell_is_not_shown_as_bad_or_as_nothing(tmp_path):
    unknown = {"comm_exposed_fraction": None, "data_wait_fraction": 0.1, "comm_exposed_by": {"gradients": None}}
    write_run(tmp_path / "runs" / "it", [trained(step, **unknown) for step in range(1, 30)])
    text = render([read_history("it", "runs")], Looked())
    assert "not finite" not in text
    assert "waiting for gradients, which is not known apart" in text


def test_an_evaluation_far_above_training_is_drawn_where_it_is(tmp_path):
    rows = [trained(step, top1=10.0) for step in range(1, 100)]
    rows += [{"kind": "eval", "step": step, "epoch": step, "top1": top1, "loss": 1.0} for step, top1 in ((50, 40.0), (99, 60.0))]
    write_run(tmp_path / "runs" / "it", rows)
    (panel,) = (panel for panel in curves.panels([read_history("it", "runs")]) if panel.title == "Top-1")
    heights = re.findall(r'class="dot c1 dashed" cx="[^"]*" cy="([^"]*)"', curves.draw(panel, "it"))
    assert float(heights[0]) > float(heights[1]) > 10


def test_layers_that_were_logged_have_a_curve_each(tmp_path):
    """Updates as a share of the weights; rows without sizes, and sizes that are not finite, are gaps or nothing."""
    sized = {"gradients": {"conv1": 2.0, "fc8": 1.0}, "weights": {"conv1": 10.0, "fc8": 0.0}, "updates": {"conv1": 0.5, "fc8": 0.25}}
    lost = {**sized, "gradients": {"conv1": None, "fc8": 1.0}}
    write_run(tmp_path / "runs" / "it", [trained(1, **sized), trained(2), trained(3, **lost), trained(4, **sized), trained(5, gradients=3)])
    run = read_history("it", "runs")
    gradients, updates = curves.panels([run])[-2:]
    assert (gradients.title, updates.title) == ("Gradients by layer", "Updates by layer")
    first, last = gradients.curves
    assert (first.label, last.label) == ("conv1", "fc8")
    assert [point and (point.step, point.mean) for point in first.points] == [(1, 2.0), None, (4, 2.0)]
    assert [point.mean for point in last.points] == [1.0, 1.0, 1.0]
    (conv1,) = updates.curves
    assert [point.mean for point in conv1.points] == [5.0, 5.0, 5.0]
    assert not any(panel.title.endswith("by layer") for panel in curves.panels([run, run]))
