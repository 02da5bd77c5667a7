"""Weights of another network are refused with the options of the network that they belong to."""

import pytest
import torch
from support.runs import small

from distalex.errors import UserError
from distalex.model.initial_weights import build_model
from distalex.runs.weights import load_weights


def test_a_checkpoint_of_another_width_names_the_options_it_was_trained_with(tmp_path):
    config = small(model__width="0.5")
    weights = build_model(config.model, 4, 64, seed=0).state_dict()
    torch.save({"format": 1, "model": weights, "config": config.model_dump(mode="json")}, tmp_path / "x.pt")
    net = build_model(small().model, 4, 64, seed=0)
    with pytest.raises(UserError, match=r"conv1.weight has shape .*--model.name=paper --model.width=0.5 --model.fc6=32 --model.fc7=32"):
        load_weights(net, str(tmp_path / "x.pt"), "runs", "standard", print)


def test_a_state_dict_of_another_width_names_the_options_that_decide_shapes(tmp_path):
    torch.save(build_model(small(model__width="0.5").model, 4, 64, seed=0).state_dict(), tmp_path / "x.pt")
    net = build_model(small().model, 4, 64, seed=0)
    with pytest.raises(UserError, match=r"\(48, 3, 11, 11\), this network \(24, 3, 11, 11\); set model.name, model.width"):
        load_weights(net, str(tmp_path / "x.pt"), "runs", "standard", print)
