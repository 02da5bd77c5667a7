"""Networks of one's own, as docs/networks.md shows them, on several processes."""

import os
import re
import subprocess
import sys

import pytest
from support.runs import REPOSITORY, SMALL, metrics, newest

PAGE = (REPOSITORY / "docs" / "networks.md").read_text()
OPTIONS = {
    **{key: value for key, value in SMALL.items() if not key.startswith("model.")},
    **{"train.epochs": "1", "train.ema": "0.9", "optim.lr": "0.001"},
}


def write_files(folder):
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).write_text(code)


def train(launch, processes, **changes):
    values = {**OPTIONS, **{key.replace("__", "."): value for key, value in changes.items()}}
    return launch("train", *[f"--{key}={value}" for key, value in values.items()], processes=processes)


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    ("network", "topologies"),
    [("net.py:build", ["data-3"]), ("two.py:build", ["model-2", "hybrid-4"]), ("torchvision:resnet18", ["data-2"])],
)
def test_every_topology_trains_the_same_network(launch, tmp_path, network, topologies):
    """Batch normalisation, dropout where there is some, augmentation, a moving average and an uneven last batch of 8."""
    write_files(tmp_path)
    rate = "1e-5" if "resnet" in network else "0.001"  # rounding grows fast in it
    for topology in ["none-1", *topologies]:
        parallel, processes = topology.split("-")
        done = train(launch, int(processes), name=topology, parallel=parallel, model__name=network, optim__lr=rate)
        assert done.returncode == 0, done.stderr
    for topology in topologies:
        for kind in ("train", "eval"):
            ours, theirs = ([row["loss"] for row in metrics(tmp_path / "runs" / name, kind)] for name in ("none-1", topology))
            assert ours == pytest.approx(theirs, abs=2e-5 if "resnet" in network else 2e-6)


@pytest.mark.slow(10)
def test_every_gradient_of_the_pages_networks_is_the_whole_networks(tmp_path):
    write_files(tmp_path)
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", str(REPOSITORY / "tests/parallel/own_gradients.py")]
    command = [sys.executable, "-m", *launcher, "net.py:build@data", "two.py:build@data", "two.py:build@model"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as the whole network") == 3


def test_a_table_that_hides_a_mixture_of_columns_is_refused(launch, tmp_path):
    write_files(tmp_path)
    wrong = (
        (tmp_path / "two.py").read_text().replace("x = self.conv2(x).relu()", "x = self.conv2(x).relu(); x = x - x.mean(1, keepdim=True)")
    )
    (tmp_path / "two.py").write_text(wrong)
    done = train(launch, 2, name="wrong", parallel="model", model__name="two.py:build")
    assert "gives other logits than the whole one" in done.stderr
    assert not (tmp_path / "runs").exists()


COUNTS = """
import torch
from torch import nn


class Fading(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 5, 4), nn.Linear(8, classes)
        self.register_buffer("share", torch.ones(()))

    def forward(self, x):
        if self.training:
            self.share *= 0.5
        return self.out(self.conv(x).mean((2, 3))) * (1 + self.share)


def build(classes, image_size):
    return Fading(classes)
"""


@pytest.mark.slow(15)
def test_a_buffer_that_every_step_changes_is_the_same_in_shards(launch, tmp_path):
    (tmp_path / "counts.py").write_text(COUNTS)
    for name, parallel, processes in (("alone", "none", 1), ("shards", "fsdp", 2)):
        done = train(launch, processes, name=name, parallel=parallel, model__name="counts.py:build")
        assert done.returncode == 0, done.stderr
    alone, shards = (newest(tmp_path / "runs" / name)["model"]["share"].item() for name in ("alone", "shards"))
    assert alone == shards < 1
