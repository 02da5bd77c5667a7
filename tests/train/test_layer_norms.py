"""Norms of gradients, weights and updates by layer."""

import pytest
import torch
from support.runs import metrics, newest
from support.train import train


def test_norms_of_layers_are_those_of_plain_gradient_descent(tmp_path):
    """Without momentum and decay, an update is the rate times the gradient, and weights move by it."""
    words = {"optim__name": "sgd", "optim__momentum": "0", "optim__weight_decay": "0", "optim__lr": "0.01", "optim__schedule": "constant"}
    assert train(name="it", log__layers="true", log__every="2", optim__bias_lr="1", **words) == 0
    rows = metrics(tmp_path / "runs" / "it")
    assert [row["step"] for row in rows if "updates" in row] == [2, 4, 6]
    for row in rows:
        if "updates" in row:
            assert list(row["updates"]) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
            for layer, update in row["updates"].items():
                assert update == pytest.approx(0.01 * row["gradients"][layer], rel=1e-3)
    last = newest(tmp_path / "runs" / "it")["model"]
    norm = torch.cat([last["conv3.weight"].flatten(), last["conv3.bias"]]).norm()
    assert rows[-1]["weights"]["conv3"] == pytest.approx(float(norm), rel=1e-6)
