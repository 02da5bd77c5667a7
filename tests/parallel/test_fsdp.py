"""--parallel=fsdp: what a unit is, what is refused, and what it adds to the promise of test_topologies.py."""

import pytest
import torch
from support.runs import metrics, newest, options
from torch import nn

from distalex.cli.main import main
from distalex.model.network import Network
from distalex.parallel.fsdp import units_of


class Custom(Network):
    """No AlexNet: a block of two layers, a layer whose weight another module uses, two layers with one weight, and a scale."""

    classes, image_size, classifier = 4, 8, "last"

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 16, 6))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.first, self.second = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(16))
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        x = self.block(x).flatten(1)[:, None]
        x = self.attention(x, x, x)[0][:, 0] * self.scale
        return self.last(self.second(self.first(x)))


def test_a_unit_is_called_and_has_its_weights_to_itself():
    """The attention reads its output layer's weight without a call, and first and second share theirs: the network gathers that."""
    net = Custom()
    names = {module: name for name, module in net.named_modules()}
    assert [names[unit] for unit in units_of(net)] == ["last", "attention", "block.2", "block.0", ""]
    assert all(module.training for module in net.modules())


def test_small_layers_are_gathered_with_those_around_them():
    net = Custom()
    net.last = nn.Sequential(nn.Linear(16, 20000), nn.Linear(20000, 4))
    names = {module: name for name, module in net.named_modules()}
    assert [names[unit] for unit in units_of(net)] == ["last.1", "last.0", ""]


def test_one_process_is_refused_with_a_command_that_works(capsys):
    assert main(["train", *options(parallel="fsdp", name="it")]) == 2
    assert "torchrun --nproc_per_node=2 -m distalex.train --parallel=fsdp" in capsys.readouterr().err


@pytest.mark.slow(10)
def test_gradients_in_bf16_skipped_steps_and_adam_are_those_of_data(launch, tmp_path):
    """A class less than processes, so that the last has no row of fc8, and each step halves the bytes of gradients."""
    asked = {"data__synthetic_classes": "2", "optim__name": "adam", "optim__eps": "1e-3", "optim__lr": "1e-3", "train__accumulate": "2"}
    for parallel in ("data", "fsdp"):
        changes = {**asked, "train__reduce_precision": "bf16", "train__on_nonfinite": "skip", "train__epochs": "1"}
        done = launch("train", *options(name=parallel, parallel=parallel, **changes), processes=3)
        assert done.returncode == 0, done.stderr
    data, fsdp = (tmp_path / "runs" / name for name in ("data", "fsdp"))
    for row, same in zip(metrics(fsdp), metrics(data), strict=True):
        assert row["loss"] == pytest.approx(same["loss"], abs=1e-3)  # bf16 rounds the sum of each micro-batch
        assert row["comm_bytes_by"].keys() == {"parameters", "gradients"}
        assert row["comm_bytes_by"]["gradients"] == row["comm_bytes_by"]["parameters"] / 4
    first, second = newest(fsdp), newest(data)
    for name, values in first["optimizer"].items():
        assert values["step"] == second["optimizer"][name]["step"]
        moment, same = values["exp_avg"], second["optimizer"][name]["exp_avg"]
        assert (moment - same).norm() < 0.05 * same.norm(), name  # single sums of either sign cancel
