"""Parallel modes: the mesh that each makes, and what each declares."""

import subprocess
import sys

import pytest
import torch
from support.runs import REPOSITORY, small

from distalex.config.choices import declared_in
from distalex.errors import UserError
from distalex.model.initial_weights import build_model
from distalex.model.networks.paper import CONVOLUTIONS
from distalex.parallel.columns import split_into_columns
from distalex.parallel.mesh import Mesh
from distalex.parallel.topology import Layout, Topology, layout


@pytest.mark.parametrize(
    ("parallel", "processes", "columns", "mesh"),
    [
        ("none", 1, 2, (1, 1)),
        ("data", 3, 2, (3, 1)),
        ("model", 2, 2, (1, 2)),
        ("model", 2, 4, (1, 2)),
        ("model", 4, 4, (1, 4)),
        ("hybrid", 2, 2, (1, 2)),
        ("hybrid", 6, 2, (3, 2)),
        ("hybrid", 6, 3, (2, 3)),
        ("owt", 3, 1, (1, 3)),
        ("fsdp", 3, 2, (3, 1)),
    ],
)
def test_the_flag_makes_the_mesh(parallel, processes, columns, mesh):
    assert layout(parallel, processes, columns) == Layout(*mesh)


@pytest.mark.parametrize(
    ("parallel", "processes", "columns", "said"),
    [
        ("none", 2, 2, "needs 1 process and 2 were started; try: torchrun --nproc_per_node=2 -m distalex.train --parallel=data"),
        ("model", 1, 2, "needs 2 processes, a divisor of model.columns=2, and there is 1; try: torchrun --nproc_per_node=2 -m"),
        ("model", 3, 2, "needs 2 processes, a divisor of model.columns=2, and there are 3"),
        ("model", 4, 2, "torchrun --nproc_per_node=4 -m distalex.train --parallel=hybrid"),
        ("model", 3, 4, "needs 2 or 4 processes"),
        ("model", 2, 1, "model.columns=1; try: torchrun --nproc_per_node=2 -m distalex.train --parallel=data"),
        ("hybrid", 3, 2, "needs a multiple of 2 processes"),
        ("hybrid", 1, 2, "torchrun --nproc_per_node=2 -m distalex.train --parallel=hybrid"),
        ("owt", 1, 2, "needs 2 processes or more"),
        ("fsdp", 1, 2, "torchrun --nproc_per_node=2 -m distalex.train --parallel=fsdp"),
    ],
)
def test_a_mesh_that_does_not_fit_is_one_line_with_the_command_that_would_work(parallel, processes, columns, said):
    with pytest.raises(UserError) as error:
        layout(parallel, processes, columns)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", declared_in("parallel/modes"))
def test_every_mode_declares_what_pictures_and_planner_ask(name):
    declared = declared_in("parallel/modes")[name]
    assert {"LABEL", "COLOUR", "HOLDS", "LEAST", "SPREADS_IMAGES", "SHARDS_PARAMETERS"} <= declared.facts.keys()
    assert declared.meaning and declared.facts["HOLDS"].format(column=1, columns=2)
    dp, mp = layout(name, declared.facts["LEAST"], 2)
    assert dp * mp == declared.facts["LEAST"]


def test_a_mode_is_declared_without_torch():
    program = "import sys; from distalex.parallel.topology import mode_of; [mode_of(name) for name in sys.argv[1:]]"
    program += "; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program, *declared_in("parallel/modes")], cwd=REPOSITORY).returncode == 0


def test_fewer_classes_than_columns_are_refused():
    configuration = small(model__columns="4")
    net = build_model(configuration.model, 3, 64, 0)
    with pytest.raises(UserError, match="divides the outputs of fc8 among 4 processes, and the data has 3 classes; try --parallel=data"):
        split_into_columns(net, Mesh(Topology(), torch.device("cpu"), "model", columns=4))


def test_layers_read_what_figure_2_says():
    net = build_model(small().model, 4, 64, 0)
    assert {name: row[4] for name, row in CONVOLUTIONS.items()} == {name: net.reads[name] for name in CONVOLUTIONS}
    assert [name for name, reads in net.reads.items() if reads == "both"] == ["conv3", "fc6", "fc7", "fc8"]
