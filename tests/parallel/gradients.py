"""Run by torchrun: the divided networks against the whole one, parameter by parameter. Prints a line a case."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional
from torch.profiler import profile

from distalex.config.config import Config
from distalex.config.model import ModelConfig
from distalex.config.optim import OptimConfig
from distalex.config.train import TrainConfig
from distalex.machine.precision import has_bf16
from distalex.model.initial_weights import build_model
from distalex.model.network import Network
from distalex.optim.optimizer import build_optimizer
from distalex.parallel.mesh import Mesh, mesh_of
from distalex.parallel.parallelize import Parallel, parallelize
from distalex.parallel.shards import Shards
from distalex.parallel.start import start_processes
from distalex.parallel.topology import Topology
from distalex.shares import share, shares_of_rounds

CASES = {  # parallel, network, columns, classes, image size, precision
    2: [
        ("model", "paper", 2, 3, 64, "fp64"),
        ("model", "paper", 2, 1001, 64, "fp64"),
        ("model", "paper", 4, 7, 64, "fp64"),
        ("model", "paper", 2, 1000, 224, "fp64"),
        ("model", "paper", 2, 1000, 224, "fp32"),
        ("model", "paper", 2, 10, 224, "bf16"),
        ("model", "paper_cifar", 2, 7, 24, "fp64"),
        ("owt", "paper", 2, 7, 64, "fp64"),
        ("owt", "seed", 1, 3, 64, "fp64"),
        ("fsdp", "seed", 1, 3, 64, "fp64"),
        ("fsdp", "paper", 2, 1000, 224, "fp32"),
    ],
    3: [
        ("data", "paper", 2, 1000, 224, "fp32"),
        ("fsdp", "paper", 2, 1000, 224, "fp32"),
        ("fsdp", "paper", 2, 2, 64, "fp64"),
    ],
    4: [
        ("hybrid", "paper", 2, 3, 64, "fp64"),
        ("model", "paper", 4, 7, 64, "fp64"),
        ("owt", "paper", 1, 7, 64, "fp64"),
        ("owt", "seed", 1, 10, 64, "fp64"),
    ],
}
IMAGES = 10
DTYPE = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16}
# Of the gradient's norm. The equality is proven in double precision; in less, a sum in another order switches a ReLU or a
# maximum here and there, and each counts among ten images. Half the gradient would be missing if columns were not summed.
TOLERANCE = {"fp64": 1e-12, "fp32": 1e-2, "bf16": 0.35}


def main() -> None:
    torch.set_num_threads(1)
    with start_processes("data") as joined:
        for case in CASES[joined.topology.world_size]:
            if case[-1] != "bf16" or has_bf16(torch.device("cpu")):  # without the instructions it takes many minutes
                compare(joined.topology, *case)


def compare(topology: Topology, parallel: str, name: str, columns: int, classes: int, size: int, precision: str) -> None:
    wide = size == 224
    model = {"name": name, "columns": columns, "fc6": 4096 if wide else 24, "fc7": 4096 if wide else 20}
    options = Config(
        parallel=parallel,
        model=ModelConfig(**model),
        train=TrainConfig(precision="bf16" if precision == "bf16" else "fp32"),
        optim=OptimConfig(lr=0.1),
    )
    mesh = mesh_of(topology, torch.device("cpu"), parallel, columns)
    exact = torch.float64 if precision == "fp64" else torch.float32
    whole = build_model(options.model, classes, size, 0).to(exact)
    images = torch.randn(IMAGES, 3, size, size, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(IMAGES) % classes
    expected = backward(whole, whole, images, labels, 0, precision)
    forward = parallelize(build_model(options.model, classes, size, 0).to(exact), options.train, mesh)
    part = share(IMAGES, mesh.replica, mesh.replicas)
    with profile() if wide else nullcontext() as profiled:
        mesh.traffic.start_step()
        logits = backward(forward, forward.net, own_images(images[part], mesh), labels[part], part.start, precision)
    tolerance = TOLERANCE[precision]
    assert torch.allclose(logits, expected[part], rtol=0, atol=tolerance * expected.abs().max().item()), "logits"
    check_gradients(whole, forward, tolerance)
    build_optimizer(whole, options.optim, Shards(Mesh(Topology(), images.device))).step()
    optimizer = build_optimizer(forward.net, options.optim, forward.shards)
    optimizer.step()
    if wide:
        held = check_bytes_held(whole, forward, optimizer)
        if parallel == "model":
            check_traffic(mesh, classes, precision, profiled)
    stepped = backward(whole, whole, images, labels, 0, precision)[part]
    logits = backward(forward, forward.net, own_images(images[part], mesh), labels[part], part.start, precision)
    # No layer keeps a copy of its weights from before: fused optimizers change them without telling autograd.
    assert (logits - stepped).norm() <= 0.2 * (stepped - expected[part]).norm(), "logits after a step"
    if mesh.is_first:
        holds = f"; a process holds {held / 1e6:.1f} MB of parameters, gradients and optimizer state" if wide else ""
        case = f"{parallel} on {mesh.topology.world_size}, {name}, {columns} columns, {classes} classes, {precision}"
        print(f"{case}: as the whole network{holds}")


def own_images(images: torch.Tensor, mesh: Mesh) -> torch.Tensor:
    if not mesh.spreads_images:
        return images
    return torch.cat([images[part] for part in shares_of_rounds(len(images), mesh.column, mesh.columns)])


def backward(
    forward: Parallel | Network, net: Network, images: torch.Tensor, labels: torch.Tensor, first_row: int, precision: str
) -> torch.Tensor:
    """Logits; leaves the gradients of the mean loss over all images."""
    net.key_masks(0, 0, first_row)
    arguments = () if isinstance(forward, Network) else (len(labels),)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = forward(images.to(DTYPE[precision]), *arguments)
    (functional.cross_entropy(logits if precision == "fp64" else logits.float(), labels, reduction="sum") / IMAGES).backward()
    return logits.detach()


def check_gradients(whole: Network, forward: Parallel, tolerance: float) -> None:
    own = forward.shards.parameters(forward.net)
    assert [*own] == [name for name, _ in whole.named_parameters()]
    for name, parameter in own.items():
        expected = forward.shards.part(name, whole.get_parameter(name).grad)
        assert parameter.grad.shape == expected.shape, name
        difference, norm = (parameter.grad - expected).norm().item(), expected.norm().item()
        assert norm > 0 or not len(expected), f"{name} has no gradient to compare"
        assert difference <= tolerance * norm, f"{name}: {difference / norm} of its norm"


def check_bytes_held(whole: Network, forward: Parallel, optimizer: torch.optim.Optimizer) -> int:
    """A share of the parameters, gradients and optimizer state, to the byte where it is even; returns the bytes of all three."""
    everything = sum(parameter.nbytes for parameter in whole.parameters())
    own, mesh = forward.shards.parameters(forward.net).values(), forward.mesh
    held = {
        "parameters": sum(parameter.nbytes for parameter in own),
        "gradients": sum(parameter.grad.nbytes for parameter in own),
        "optimizer": sum(state["momentum_buffer"].nbytes for state in optimizer.state.values()),
    }
    share_of_all = everything // (mesh.replicas if mesh.shards_parameters else mesh.columns)
    assert len(set(held.values())) == 1 and held["parameters"] == pytest.approx(share_of_all, rel=2e-3 * mesh.shards_parameters, abs=0), (
        held
    )
    if mesh.shards_parameters:  # what a forward pass has gathered is freed
        assert (
            sum(parameter.untyped_storage().nbytes() for parameter in (one.to_local() for one in forward.net.parameters()))
            < 1.01 * share_of_all
        )
    return sum(held.values())


def check_traffic(mesh: Mesh, classes: int, precision: str, profiled: profile) -> None:
    """242,688 B an image and step in fp32 at the four layers, each once forward and once backward, and nothing else."""
    width = DTYPE[precision].itemsize
    own = {"conv3": 128 * 13 * 13, "fc6": 128 * 6 * 6, "fc7": 2048, "fc8": 2048}  # numbers a column has for each image
    assert dict(mesh.traffic.sent) == {
        **{name: 2 * numbers * width * IMAGES for name, numbers in own.items()},
        "logits": classes // 2 * width * IMAGES,
    }
    assert mesh.traffic.bytes == 242_688 * IMAGES * width // 4
    assert dict(mesh.traffic.collectives) == {"conv3": 2, "fc6": 2, "fc7": 2, "fc8": 2, "logits": 1}
    called = {event.key: event.count for event in profiled.key_averages() if event.key.startswith("c10d::")}
    assert called == {"c10d::alltoall_base_": 9}, called


if __name__ == "__main__":
    sys.exit(main())
