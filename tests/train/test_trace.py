"""`train.profile`."""

import json
import re
from collections import Counter

import pytest
from support.runs import options


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
