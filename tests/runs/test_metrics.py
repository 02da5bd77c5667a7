"""The file of a run's metrics."""

import json

import pytest

from distalex.runs.metrics import MetricsFile

OTHER_LINES = [b"12\n", b"\xff\n", b"[1]\n", b'{"step": 1}\n', b'{"kind": "train", "step": "x", "epoch": 1}\n', b"\0\0\n", b'{"ki']


@pytest.mark.parametrize("line", OTHER_LINES)
def test_a_run_that_resumes_drops_lines_that_distalex_did_not_write(tmp_path, line):
    metrics = MetricsFile(tmp_path / "metrics.jsonl", print)
    for step in (1, 2, 3):
        metrics.write("train", {"step": step, "epoch": 1})
    with open(metrics.path, "ab") as file:
        file.write(line)
    assert not metrics.has_eval(3)
    metrics.rewind(2, 0)
    assert [json.loads(row)["step"] for row in metrics.path.read_text().splitlines()] == [1, 2]
