"""Applies, in this order and nowhere else: compile, then data parallel. The model itself knows of neither."""

import time
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distalex import config
from distalex.distributed import Mesh
from distalex.model import AlexNet


class Traffic:
    """What a step's gradients cost in communication."""

    def __init__(self) -> None:
        self.bytes = 0
        """Sent by this process, by the ring all-reduce's count of 2 (D - 1) / D."""
        self.last_started = 0.0

    def start_step(self) -> None:
        self.bytes, self.last_started = 0, 0.0

    def exposed(self) -> float:
        """Seconds since the last exchange started: nothing was left to compute meanwhile. Call after backward, on a CPU."""
        return time.perf_counter() - self.last_started if self.last_started else 0.0


class Parallel(nn.Module):
    """A network ready to train on a mesh: its forward pass, and when its gradients are exchanged."""

    def __init__(self, net: nn.Module, mesh: Mesh) -> None:
        super().__init__()
        self.net, self.traffic = net, Traffic()
        if isinstance(net, DistributedDataParallel):
            net.register_comm_hook((self.traffic, mesh), _sum_gradients)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def exchanging(self, now: bool) -> AbstractContextManager[None]:
        """Whether the backward pass inside exchanges gradients, or only adds to them."""
        return nullcontext() if now or not isinstance(self.net, DistributedDataParallel) else self.net.no_sync()


def parallelize(net: AlexNet, options: config.Train, mesh: Mesh) -> Parallel:
    """Wrap `net`, which lies on its device already, as the configuration and mesh ask; `net` keeps its parameters."""
    wrapped: nn.Module = net
    if options.compile:
        wrapped = torch.compile(wrapped)  # type: ignore[assignment]
    if mesh.devices is not None:
        masks = [name for name, _ in wrapped.named_buffers() if name.endswith(".draw")]
        # The masks' keys differ from replica to replica, so DDP must not make them equal.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(wrapped, masks)
        wrapped = DistributedDataParallel(
            wrapped,
            device_ids=[mesh.device.index] if mesh.device.type == "cuda" else None,
            process_group=mesh.devices.get_group("dp"),
            gradient_as_bucket_view=True,
        )
    return Parallel(wrapped, mesh)


def _sum_gradients(state: tuple[Traffic, Mesh], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Add up the replicas' gradients. Each divided its loss by the whole batch's size, so the sum is the mean's gradient."""
    traffic, mesh = state
    assert mesh.devices is not None
    gradients = bucket.buffer()
    traffic.bytes += gradients.nbytes * 2 * (mesh.replicas - 1) // mesh.replicas
    traffic.last_started = time.perf_counter()
    work = dist.all_reduce(gradients, group=mesh.devices.get_group("dp"), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])
