"""Run by torchrun: networks of one's own on replicas and in columns against the whole one, parameter by parameter, in double precision."""

from __future__ import annotations

import sys

import torch
from torch.nn import functional

from distalex.config.config import Config
from distalex.model.initial_weights import build_model
from distalex.model.network import Network
from distalex.model.own import complete
from distalex.parallel.mesh import mesh_of
from distalex.parallel.parallelize import Parallel, parallelize
from distalex.parallel.start import start_processes
from distalex.shares import share

IMAGES, CLASSES, SIDE = 10, 4, 64
TOLERANCE = 1e-9  # of a gradient's norm: sums of doubles in another order


def compare(joined, name: str, parallel: str) -> None:
    model = complete(Config(model={"name": name}, data={"image_size": SIDE}, parallel=parallel), CLASSES).model
    mesh = mesh_of(joined.topology, torch.device("cpu"), parallel, model.columns)
    whole = build_model(model, CLASSES, SIDE, 0).double()
    images = torch.randn(IMAGES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    labels = torch.arange(IMAGES) % CLASSES
    expected = backward(whole, whole, images, labels, 0)
    forward = parallelize(build_model(model, CLASSES, SIDE, 0).double(), Config(model=model).train, mesh)
    part = share(IMAGES, mesh.replica, mesh.replicas)
    logits = backward(forward, forward.net, images[part], labels[part], part.start)
    assert torch.allclose(logits, expected[part], rtol=0, atol=TOLERANCE), f"logits {(logits - expected[part]).abs().max()}"
    for key, parameter in forward.net.named_parameters():
        gradient = forward.shards.part(key, whole.get_parameter(key).grad)
        error = (parameter.grad - gradient).norm() / max(gradient.norm(), 1e-6)
        assert error <= TOLERANCE, f"{key}: {error} of its norm"
    for key, value in forward.net.state_dict().items():
        assert torch.allclose(value, forward.shards.part(key, whole.state_dict()[key]), atol=TOLERANCE), key
    if mesh.is_first:
        print(f"{name}, {parallel} on {joined.topology.world_size}: as the whole network")


def backward(forward: Parallel | Network, net: Network, images: torch.Tensor, labels: torch.Tensor, first_row: int) -> torch.Tensor:
    net.key_masks(0, 0, first_row)
    logits = forward(images, *(() if isinstance(forward, Network) else (len(labels),)))
    (functional.cross_entropy(logits, labels, reduction="sum") / IMAGES).backward()
    return logits.detach()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with start_processes("data") as started:
        for case in sys.argv[1:]:
            compare(started, *case.rsplit("@", 1))
