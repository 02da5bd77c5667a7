"""`train.profile`."""

import json
import re
from collections import Counter

import pytest
from support.runs import options

from distalex.train.trace import gpu_microseconds


@pytest.mark.parametrize(("processes", "parallel"), [(1, "none"), (2, "model")])
def test_a_trace_names_layers_loading_exchange_and_optimizer(processes, parallel, launch, tmp_path):
    """Of the asked steps only, in a file for each process that Perfetto reads: a list of events with names and times."""
    words = options(name="it", train__profile="2", train__max_steps="6", train__epochs="9")
    done = launch("train", *words, f"--parallel={parallel}", processes=processes)
    assert done.returncode == 0, done.stderr
    names = ["loading", "forward conv1", "backward conv1", "forward fc8", "backward fc8", "Optimizer.step#SGD.step"]
    names += ["waiting for conv3", "waiting for fc6"] * (processes > 1)
    for rank in range(processes):
        events = json.loads((tmp_path / "runs" / "it" / f"trace-rank{rank}.json").read_text())["traceEvents"]
        counts = Counter(event["name"] for event in events if event.get("cat") == "user_annotation" and event["ph"] == "X")
        assert [name for name in names if counts[name] < 2] == []
        assert counts["Optimizer.step#SGD.step"] == 2
    assert done.stdout.count("2 steps traced; open it at ui.perfetto.dev") == 1
    table = done.stdout.partition("2 steps traced")[2]
    for row, limit in (
        ("optimizer SGD", "the memory bandwidth"),
        ("forward conv2", "the matmul peak"),
        ("backward after1", "the memory bandwidth"),
    ):
        assert re.search(rf"^  {row} .* \d+ % of {limit}$", table, re.MULTILINE)


def test_a_gpus_time_is_counted_under_the_name_that_launched_it(tmp_path):
    """A kernel belongs to the layer during which the host launched it, in forward's thread or in backward's, however late it ran."""

    def launch(correlation, thread, when, kind="cuda_runtime"):
        return {"cat": kind, "tid": thread, "ts": when, "dur": 1, "args": {"correlation": correlation}}

    def work(correlation, microseconds, kind="kernel"):
        return {"cat": kind, "tid": 7, "ts": 500 + correlation, "dur": microseconds, "args": {"correlation": correlation}}

    names = [("loading", 1, 0, 10), ("forward conv1", 1, 20, 10), ("backward conv1", 2, 20, 30), ("backward conv1", 2, 60, 10)]
    names += [("waiting for conv1", 1, 22, 2)]  # within a layer
    events = [{"cat": "user_annotation", "name": name, "tid": thread, "ts": start, "dur": long} for name, thread, start, long in names]
    events += [
        launch(1, 1, 5),
        launch(2, 1, 25),
        launch(3, 2, 25, "cuda_driver"),
        launch(4, 2, 65),
        launch(5, 1, 15),
        launch(7, 1, 23),
        {"ph": "M"},
    ]
    events += [
        work(7, 11),
        {"cat": "kernel", "ts": 1, "dur": 3},
        work(1, 40, "gpu_memcpy"),
        work(2, 100),
        work(3, 200),
        work(4, 30),
        work(5, 7, "gpu_memset"),
        work(6, 2),
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    assert gpu_microseconds(path) == {"loading": 40, "forward conv1": 100, "waiting for conv1": 11, "backward conv1": 230, "other": 12}
