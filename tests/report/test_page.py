"""The page of a run."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
from support.report import Page, page_of, trained, write_run
from support.runs import options

from distalex.cli.main import main
from distalex.report.history import is_running, read_history
from distalex.report.page import MARK, render


def numbers_in(path):
    return json.loads(re.search(r'id="numbers">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def test_a_run_becomes_one_page_that_needs_nothing_else(tmp_path, capsys):
    assert main(["train", *options(name="it", parallel="none")]) == 0
    assert main(["report", "it", "--images=7", "--searched=9"]) == 0
    page = page_of(tmp_path / "runs" / "it" / "report.html")
    assert "written: runs/it/report.html" in capsys.readouterr().out
    for words in (
        "finished at step 6",
        "7 of the 10 test images",
        "nearest of 9 training images",
        "column 1",
        "Most frequent confusions",
        "--name=it-again",
    ):
        assert words in " ".join(page.text.split()).replace("Column", "column"), words
    drawn = numbers_in(tmp_path / "runs" / "it" / "report.html")
    loss = next(panel for panel in drawn.values() if panel["unit"] == "cross-entropy")
    rows = [json.loads(line) for line in (tmp_path / "runs" / "it" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert [step for step, _ in loss["curves"][0]["points"]] == steps
    assert loss["curves"][1]["points"][-1][1] == pytest.approx([row["loss"] for row in rows if row["kind"] == "eval"][-1], rel=1e-4)


def test_what_the_page_says_of_the_test_set_is_what_evaluate_says(tmp_path, capsys):
    for classes, top5 in (("4", ""), ("7", ", top-5 {top5:.2f} %")):
        assert main(["train", *options(name=classes, parallel="none", data__synthetic_classes=classes)]) == 0
        assert main(["evaluate", classes]) == 0
        assert main(["report", classes]) == 0
        found = json.loads((tmp_path / "runs" / classes / "evaluation.json").read_text())
        text = " ".join(page_of(tmp_path / "runs" / classes / "report.html").text.split())
        assert f"top-1 {found['top1']:.2f} %{top5.format(**found)}, loss {found['loss']:.4f}" in text
        assert ("top-5 100" in text) is False


def test_the_report_of_a_stopped_run_names_the_step_that_it_saved(tmp_path):
    """No line of metrics ends at that step."""
    write_run(tmp_path / "runs" / "it", [trained(20)])
    checkpoints = tmp_path / "runs" / "it" / "checkpoints"
    checkpoints.mkdir()
    for saved, said in ((12, "stopped at step 20, saved at step 12"), (33, "stopped at step 33")):
        (checkpoints / f"step-{saved:08d}.pt").touch()
        assert main(["report", "it"]) == 0
        assert said in page_of(tmp_path / "runs" / "it" / "report.html").text


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
        ([trained(1), trained(2, None), trained(3)], "not finite, the first at step 2"),
        ([trained(1, None)], "the first at step 1"),
        ([trained(1), '{"kind": "train", "st'], "left out 1 line"),
        (["\x00\xff\n", "[1]\n", "null\n"], "left out 3 lines"),
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
    assert "No predictions: " in page.text


def test_a_run_whose_options_and_checkpoints_are_damaged_makes_a_page(tmp_path):
    assert main(["train", *options(name="it", parallel="none")]) == 0
    folder = tmp_path / "runs" / "it"
    (folder / "config.yaml").write_text("model: [")
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    (folder / "starts.jsonl").write_text('{"replicas": "many", "columns": null, "processes": {}}\n')
    assert main(["report", "it"]) == 0
    text = page_of(folder / "report.html").text
    assert "its options are unknown" in text
    assert "No predictions: " in text


def test_names_and_options_cannot_put_tags_into_the_page(tmp_path):
    folder = write_run(tmp_path / "runs" / "it", [trained(1)])
    evil = "</script><script>alert(1)</script><img src=http://x>"
    (folder / "config.yaml").write_text(f"data: {{root: {json.dumps(evil)}}}\n")
    (folder / "starts.jsonl").write_text(json.dumps({"device": evil, "parallel": evil, "host": evil}) + "\n")
    (folder / "metrics.jsonl").write_text(json.dumps(trained(1, comm_bytes_by={evil: 1}, comm_exposed_by={evil: 1})) + "\n")
    text = render([read_history("it", "runs")], missing=evil)
    assert "alert(1)</script>" not in text
    assert "<img" not in text
    Page(text)


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


def test_epochs_are_a_table_of_training_test_and_time(tmp_path):
    """Two epochs of two steps of 20 images at 10 a second, the second one not evaluated; top-5 only where it is not always 100 %."""
    rows = [trained(step, epoch=1 + (step > 2), images=20) for step in (1, 2, 3, 4)]
    rows += [{"kind": "epoch", "step": 2 * epoch, "epoch": epoch, "loss": 0.5, "top1": 75.0, "images": 40} for epoch in (1, 2)]
    rows += [{"kind": "eval", "step": 2, "epoch": 1, "loss": 0.25, "top1": 80.0, "top5": 100.0, "count": 10}]
    write_run(tmp_path / "runs" / "it", rows)
    text = render([read_history("it", "runs")])
    cells = [re.findall(r"<td>([^<]*)</td>", row) for row in re.findall(r"<tr>.*?</tr>", text) if "4.0 s" in row]
    assert cells == [
        ["1", "80.00 %", "0.2500", "0.5000", "75.00 %", "2", "0.1", "10", "4.0 s"],
        ["2", "–", "–", "0.5000", "75.00 %", "4", "0.1", "10", "4.0 s"],
    ]
    assert "top-5" not in text


def test_a_run_that_has_stopped_early_is_finished(tmp_path):
    rows = [
        {"kind": "eval", "step": step, "epoch": step, "loss": loss, "top1": 50.0} for step, loss in ((1, 1.0), (2, 0.9), (3, 1.1), (4, 1.2))
    ]
    folder = write_run(tmp_path / "runs" / "it", rows)
    (folder / "config.yaml").write_text("train: {epochs: 9, early_stop: 2}\n")
    assert read_history("it", "runs").state == "finished early at step 4"
    (folder / "config.yaml").write_text("train: {epochs: 9, early_stop: 3}\n")
    assert read_history("it", "runs").state == "stopped at step 4"
