"""Applies, in this order and nowhere else: columns, shared statistics, what a GPU likes, compile, data parallel.

The model knows of none of them.
"""

import time
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distalex.config.train import TrainConfig
from distalex.model.alexnet import AlexNet
from distalex.parallel import gpu_convolutions
from distalex.parallel.batch_norm import BatchNormOfAll, share_statistics
from distalex.parallel.columns import ConvOfBoth, LinearOfBoth, split_into_columns
from distalex.parallel.mesh import Mesh
from distalex.parallel.owt import OneWeirdTrick
from distalex.parallel.shards import Shards


class Parallel:
    """A network on a mesh: how it is called, and when its gradients are exchanged.

    `net` is the network itself with this process's parameters under their plain names; `shards` says which rows those are.
    """

    def __init__(self, net: AlexNet, plain: nn.Module, wrapped: nn.Module, mesh: Mesh, shards: Shards) -> None:
        self.net, self.plain, self.wrapped, self.mesh, self.shards = net, plain, wrapped, mesh, shards

    def __call__(self, images: Tensor, count: int) -> Tensor:
        """Logits (count, classes) to train on, of the replica's `count` images; `images` are all of them or this process's."""
        return self._call(self.wrapped, images, count)

    def evaluate(self, images: Tensor, count: int) -> Tensor:
        """The same, neither compiled nor followed by an exchange of gradients."""
        return self._call(self.plain, images, count)

    def _call(self, module: nn.Module, images: Tensor, count: int) -> Tensor:
        return module(images, count) if self.mesh.spreads_images else module(images)

    def exchanging(self, now: bool) -> AbstractContextManager[None]:
        """Whether the backward pass inside exchanges gradients, or only adds to them."""
        return nullcontext() if now or not isinstance(self.wrapped, DistributedDataParallel) else self.wrapped.no_sync()


def parallelize(net: AlexNet, config: TrainConfig, mesh: Mesh, trains: bool = True) -> Parallel:
    """Divide, move, compile and replicate the whole `net` (on the CPU) as the configuration and mesh ask; changes it in place.

    With `trains` false only `evaluate` can be called, and nothing is compiled or replicated for it.
    Raises UserError where the network cannot be divided so.
    """
    plain: nn.Module = net
    shards = Shards(mesh)
    if mesh.spreads_images:
        plain = OneWeirdTrick(net, mesh)
        shards = plain.shards
    elif mesh.columns > 1:
        shards = split_into_columns(net, mesh)
    share_statistics(net, mesh)
    gpu_convolutions.adapt(net, mesh)
    net.to(device=mesh.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped: nn.Module = _compile(plain) if config.compile and trains else plain
    own = tuple(shards.rows) if mesh.spreads_images else ()  # no other process of the gradients' group has these rows
    shares = any(parameter.requires_grad for name, parameter in net.named_parameters() if name not in own)
    if mesh.gradient_group is not None and trains and shares:
        wrapped = _replicate(wrapped, mesh, own)
    return Parallel(net, plain, wrapped, mesh, shards)


def _compile(net: nn.Module) -> nn.Module:
    """`net` compiled, but for the layers that exchange."""
    for layer in net.modules():
        if isinstance(layer, ConvOfBoth | LinearOfBoth | BatchNormOfAll):
            layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign]
    if isinstance(net, OneWeirdTrick):
        net.compile()
        return net
    return torch.compile(net)  # type: ignore[return-value]


def _replicate(net: nn.Module, mesh: Mesh, own: tuple[str, ...]) -> DistributedDataParallel:
    # The masks' keys differ from process to process, so DDP must not make buffers equal; nor the parameters named in `own`.
    buffers = [name for name, _ in net.named_buffers()]
    rows = [name for name, _ in net.named_parameters() if name.endswith(own)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(net, buffers + rows)
    replicated = DistributedDataParallel(
        net,
        device_ids=[mesh.device.index] if mesh.device.type == "cuda" else None,
        process_group=mesh.gradient_group,
        gradient_as_bucket_view=True,
    )
    replicated.register_comm_hook(mesh, _sum_gradients)
    return replicated


def _sum_gradients(mesh: Mesh, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Add up the gradients. Each process divided its loss by the whole batch's size, so the sum is the mean's gradient."""
    group = mesh.gradient_group
    assert group is not None
    gradients = bucket.buffer()
    mesh.traffic.send("gradients", gradients.nbytes * 2 * (group.size() - 1) // group.size())
    mesh.traffic.last_gradients_started = time.perf_counter()
    work = dist.all_reduce(gradients, group=group, async_op=True)
    return work.get_future().then(lambda future: future.value()[0])
