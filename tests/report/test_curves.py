"""Curves and drawings of the page."""

import itertools
import json
import re

import pytest
from support.report import page_of, trained, write_run

from distalex.cli.main import main
from distalex.report import curves, mesh
from distalex.report.history import read_history
from distalex.report.page import render


def test_a_very_long_run_is_drawn_with_few_points(tmp_path):
    write_run(tmp_path / "runs" / "it", [trained(step, 100.0 / step) for step in range(1, 50_001)])
    run = read_history("it", "runs")
    (loss, *_) = curves.panels_of([run])
    points = loss.curves[0].points
    assert 250 <= len(points) <= 301
    assert points[-1].step == 50_000
    assert points[0].largest == 100.0
    assert len(render([run])) < 300_000


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
    drawing = mesh.draw_mesh(read_history("it", "runs"))
    for words in ("rank 3", "column 2 of 2", "conv3", "1.0 MB, 1.0 % exposed", "gradients 2.5 MB"):
        assert words in drawing, words
    assert main(["report", "it"]) == 0
    text = page_of(folder / "report.html").text
    assert "torchrun --standalone --nproc_per_node=4 -m distalex.train --config=runs/it/config.yaml" in text


def test_what_a_gpu_cannot_tell_is_not_shown_as_bad_or_as_nothing(tmp_path):
    unknown = {"comm_exposed_fraction": None, "data_wait_fraction": 0.1, "comm_exposed_by": {"gradients": None}}
    write_run(tmp_path / "runs" / "it", [trained(step, **unknown) for step in range(1, 30)])
    text = render([read_history("it", "runs")])
    assert "not finite" not in text
    assert "including waiting for gradients" in text


def test_an_evaluation_far_above_training_is_drawn_where_it_is(tmp_path):
    rows = [trained(step, top1=10.0) for step in range(1, 100)]
    rows += [{"kind": "eval", "step": step, "epoch": step, "top1": top1, "loss": 1.0} for step, top1 in ((50, 40.0), (99, 60.0))]
    write_run(tmp_path / "runs" / "it", rows)
    (panel,) = (panel for panel in curves.panels_of([read_history("it", "runs")]) if panel.title == "Top-1")
    heights = re.findall(r'class="dot c1 dashed" cx="[^"]*" cy="([^"]*)"', curves.draw_panel(panel, "it"))
    assert float(heights[0]) > float(heights[1]) > 10


def test_layers_that_were_logged_have_a_curve_each(tmp_path):
    """Updates as a share of the weights; rows without sizes, and sizes that are not finite, are gaps or nothing."""
    sized = {"gradients": {"conv1": 2.0, "fc8": 1.0}, "weights": {"conv1": 10.0, "fc8": 0.0}, "updates": {"conv1": 0.5, "fc8": 0.25}}
    lost = {**sized, "gradients": {"conv1": None, "fc8": 1.0}}
    write_run(tmp_path / "runs" / "it", [trained(1, **sized), trained(2), trained(3, **lost), trained(4, **sized), trained(5, gradients=3)])
    run = read_history("it", "runs")
    gradients, updates = curves.panels_of([run])[-2:]
    assert (gradients.title, updates.title) == ("Gradients by layer", "Updates by layer")
    first, last = gradients.curves
    assert (first.label, last.label) == ("conv1", "fc8")
    assert [point and (point.step, point.mean) for point in first.points] == [(1, 2.0), None, (4, 2.0)]
    assert [point.mean for point in last.points] == [1.0, 1.0, 1.0]
    (conv1,) = updates.curves
    assert [point.mean for point in conv1.points] == [5.0, 5.0, 5.0]
    assert not any(panel.title.endswith("by layer") for panel in curves.panels_of([run, run]))


@pytest.mark.parametrize("values", [(1.279, 1.63), (0.0, 1.0), (0.013, 0.0131), (3.0, 3.0), (0.0, 1.3e6), (2e-7, 9e-7)])
def test_ticks_are_multiples_of_one_two_or_five(tmp_path, values):
    write_run(tmp_path / "runs" / "it", [trained(step, loss) for step, loss in zip((1, 9), values, strict=True)])
    panel = curves.panels_of([read_history("it", "runs")])[0]
    drawing = curves.draw_panel(panel, "it")
    assert "loss, cross-entropy</text>" in drawing
    assert ">step</text>" in drawing
    labels = [float(label.replace(",", "")) for label in re.findall(r'text-anchor="end">([^<]*)<', drawing)]
    gaps = {f"{later - label:.2e}" for label, later in itertools.pairwise(labels)}
    assert len(gaps) == 1
    assert gaps.pop()[:4] in ("1.00", "2.00", "5.00")
    steps = re.findall(r'y="22[^"]*" text-anchor="middle">([^<]*)<', drawing)
    assert steps == ["0", "2", "4", "6", "8"]


@pytest.mark.parametrize("layers", [4, 40])
def test_words_of_the_drawing_of_processes_stay_inside_it(tmp_path, layers):
    """A letter is about 6 pixels wide."""
    sent = {f"layer{number}": 123_456_789 for number in range(layers)} | {"gradients": 987_654_321}
    row = trained(1, comm_bytes_by=sent, comm_exposed_by=dict.fromkeys(sent, 0.0123))
    for parallel, replicas, columns in (("hybrid", 3, 2), ("owt", 1, 6), ("data", 2, 1)):
        folder = write_run(tmp_path / "runs" / parallel, [row])
        (folder / "starts.jsonl").write_text(json.dumps({"parallel": parallel, "replicas": replicas, "columns": columns}) + "\n")
        drawing = mesh.draw_mesh(read_history(parallel, "runs"))
        width = float(re.search(r'viewBox="0 0 (\S+)', drawing)[1])
        boxes = sorted(
            {(float(x), float(wide)) for x, wide in re.findall(r'<rect class="box" x="([^"]*)" y="[^"]*" width="([^"]*)"', drawing)}
        )
        for x, anchor, text in re.findall(r'<text class="label [^"]*" x="([^"]*)" y="[^"]*" text-anchor="(\w+)">([^<]*)<', drawing):
            half = 3 * len(text)
            left, right = (float(x), float(x) + 2 * half) if anchor == "start" else (float(x) - half, float(x) + half)
            assert 0 <= left < right <= width, text
            if re.search("layer[0-9]|MB", text) and anchor == "middle":
                assert all(right <= start or left >= start + wide for start, wide in boxes), text


def test_bytes_are_those_of_whole_batches(tmp_path):
    """The last batch of an epoch is smaller, and sends less between columns."""
    rows = [trained(step, comm_bytes=sent, comm_bytes_by={"conv3": sent}) for step, sent in ((1, 200), (2, 200), (3, 90))]
    write_run(tmp_path / "runs" / "it", rows)
    assert [exchange.bytes for exchange in mesh.exchanges_of(read_history("it", "runs"))] == [200]
