"""Networks, and their columns, in a script of one's own that torchrun starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from distalex.api.configs import read_config
from distalex.errors import UserError
from distalex.model.initial_weights import build_model
from distalex.model.network import Network
from distalex.model.own import complete
from distalex.parallel import columns
from distalex.parallel.batch_norm import share_statistics
from distalex.parallel.mesh import mesh_of
from distalex.parallel.shards import Shards
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology


def build_network(overrides: Mapping[str, Any] | None = None, *, classes: int, image_size: int, seed: int = 0) -> Network:
    """Build a network with the initial weights of a run with that seed, the same on every process, on the CPU.

    `overrides`: options of the network by dotted name, e.g. {"model.name": "paper", "model.width": 0.5}. Raises UserError.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise UserError(f"classes={classes!r}: two or more classes are needed")
    config = read_config(None, {**(overrides or {}), "data.image_size": image_size}, None, {"seed": seed}, "build_network")
    return build_model(complete(config, classes).model, classes, config.data.image_size, config.seed)


def split_into_columns(net: Network, device: str = "auto") -> Shards:
    """Keep this process's columns of every layer of `net`, in place; layers that read both columns exchange with the other process.

    Call it on every process of a job that torchrun started, with the same whole network; `dist.init_process_group` need not be called
    before. Each process then passes all images of the batch to `net`, gets whole logits, and after `backward` has the gradients of its
    own rows.

    Args:
        net: a network of columns, from `build_network` or `load(…).net`, on the CPU.
        device: auto, cpu or cuda.

    Returns:
        Which rows this process has: `part(name, whole)` slices a tensor, `whole(name, part)` gathers it on rank 0, and
        `mesh.traffic` has the bytes sent.

    Raises:
        UserError: there is one process, the network has no columns, or their numbers do not fit.
    """
    topology = Topology.from_environment()
    if not isinstance(net, Network):
        raise UserError(
            f"{type(net).__name__}: not a network with columns; build one, also your own, with "
            "distalex.build_network({'model.name': 'FILE.py:build'}, classes=…, image_size=…)"
        )
    if topology.world_size == 1:
        raise UserError("split_into_columns: there is 1 process; start the script with: torchrun --standalone --nproc_per_node=2 SCRIPT.py")
    chosen = choose_device(device, topology)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    mesh = mesh_of(topology, chosen, "model", net.columns)
    shards = columns.split_into_columns(net, mesh)
    share_statistics(net, mesh)
    net.to(device=chosen, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return shards
