"""The least work of layers, against counts made elsewhere."""

import itertools

import pytest
import torch
from support.runs import small

from distalex.model.initial_weights import build_model
from distalex.model.network import count_macs
from distalex.parallel import gpu_convolutions
from distalex.parallel.mesh import Mesh
from distalex.parallel.topology import Topology
from distalex.train.roofline import DeviceSpeed, Work, backward_work, forward_work, update_work
from distalex.train.trace import Trace


def works(name, passes):
    """`passes`, forward_work or backward_work, of every layer with weights, for two images."""
    options = small(model__name=name).model
    net, found = build_model(options, 4, 64, seed=0), {}
    for layer, module in net.named_children():
        if layer.startswith(("conv", "fc")):
            module.register_forward_hook(lambda module, given, out, layer=layer: found.update({layer: passes(module, [given[0]], [out])}))
    net(torch.randn(2, 3, 64, 64))
    return options, found


@pytest.mark.parametrize("name", ["paper", "seed"])
def test_flops_are_those_of_the_networks_table(name):
    options, forward = works(name, forward_work)
    _, backward = works(name, backward_work)
    once = 2 * 2 * count_macs(options, 4, 64)  # two images, a multiplication and an addition
    assert sum(work.flops for work in forward.values()) == once
    assert sum(work.flops for work in backward.values()) == 2 * once - forward["conv1"].flops  # no gradient of the images


def test_bytes_of_a_fully_connected_layer_and_of_its_update():
    layer = torch.nn.Linear(30, 20)
    given = torch.randn(5, 30, requires_grad=True)
    out = layer(given)
    weights, read, written = 4 * (30 * 20 + 20), 4 * 5 * 30, 4 * 5 * 20
    assert forward_work(layer, [given], [out]).traffic == read + weights + written
    assert backward_work(layer, [given], [out]).traffic == 2 * read + written + 2 * weights
    out.sum().backward()
    for kind, options, state in ((torch.optim.SGD, {}, 0), (torch.optim.SGD, {"momentum": 0.9}, 1), (torch.optim.AdamW, {}, 2)):
        optimizer = kind(layer.parameters(), lr=0.1, **options)
        optimizer.step()
        assert update_work(optimizer).traffic == (3 + 2 * state) * weights


def test_a_frozen_layer_computes_its_inputs_gradient_only():
    layer, given = torch.nn.Conv2d(4, 6, 3), torch.randn(2, 4, 5, 5, requires_grad=True)
    out = layer(given)
    learning, macs = backward_work(layer, [given], [out]), 2 * 6 * 3 * 3 * 4 * 9
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    frozen = backward_work(layer, [given], [out])
    assert (learning.flops, frozen.flops) == (4 * macs, 2 * macs)
    assert learning.traffic - frozen.traffic == given.nbytes + sum(parameter.nbytes for parameter in layer.parameters())


def test_the_limit_that_takes_longer_is_named():
    speed = DeviceSpeed(flops=100.0, bandwidth=10.0)
    assert Work(50.0, 1.0).share(speed, 1.0) == (0.5, "the matmul peak")
    assert Work(50.0, 20.0).share(speed, 4.0) == (0.5, "the memory bandwidth")


def traced(net, folder):
    """The table of two traced steps of `net`, and the work of every layer."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    trace = Trace(2, net, optimizer, folder, 0, torch.device("cpu"), DeviceSpeed(1e9, 1e9))
    tables = []
    for _ in range(6):
        net(torch.randn(2, 3, 64, 64)).sum().backward()
        optimizer.step()
        tables.append(trace.step())
        with torch.no_grad():
            net(torch.randn(2, 3, 64, 64))  # as an evaluation between two steps
    (table,) = filter(None, tables)
    return table, trace.work


def test_columns_kept_apart_as_on_a_gpu_have_the_same_work(tmp_path):
    """Their layers take and give a tensor for each column."""
    options, forward = works("paper", forward_work)
    once = {"forward": forward, "backward": works("paper", backward_work)[1]}
    plain, apart = (build_model(options, 4, 64, seed=0) for _ in range(2))
    gpu_convolutions.adapt(apart, Mesh(Topology(), torch.device("cuda"), "none"))
    (table, work), (_, expected) = traced(apart, tmp_path), traced(plain, tmp_path)
    for way, layer in itertools.product(once, ("conv1", "conv2", "after2", "conv3", "conv5", "fc8")):
        name = f"{way} {layer}"
        assert work[name] == expected[name]
        assert work[name].flops == 2 * once[way].get(layer, Work()).flops  # of two steps
        assert f"  {name} " in table
