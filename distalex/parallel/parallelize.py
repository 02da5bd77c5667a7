"""How a network is made parallel, in this order: columns, shared statistics, GPU layers, compile, data parallel (DDP or FSDP)."""

# Without `from __future__ import annotations`: DistributedDataParallel checks the annotations of `_sum_gradients`, which must be types.

import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distalex.config.train import TrainConfig
from distalex.kernels.available import can_compile
from distalex.model.batch_norm import BatchNorm, TorchBatchNorm
from distalex.model.network import Network
from distalex.parallel import gpu_convolutions
from distalex.parallel.batch_norm import share_statistics
from distalex.parallel.columns import ConvOfBoth, LinearOfBoth
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.parallel.topology import mode_of
from distalex.parallel.traffic import all_reduce_bytes


class Parallel:
    """A network on a mesh: how it is called, and when its gradients are all-reduced.

    Args:
        net: the network itself, with this process's parameters under their plain names.
        plain: the module to evaluate.
        wrap: returns the module to train, compiled and replicated.
        mesh: the processes.
        shards: which rows of which parameters this process has.
    """

    def __init__(self, net: Network, plain: nn.Module, wrap: Callable[[], nn.Module], mesh: Mesh, shards: Shards) -> None:
        self.net, self.plain, self.mesh, self.shards = net, plain, mesh, shards
        self._wrap, self.wrapped = wrap, wrap()

    def replicate_again(self) -> None:
        """Prepare the all-reduce of gradients anew after other parameters than before are to train. A collective."""
        self.wrapped = self.plain
        gc.collect()  # DDP's hooks on parameters go with it
        self.wrapped = self._wrap()

    def __call__(self, images: Tensor, count: int) -> Tensor:
        """Return logits (count, classes) to train on, for the replica's `count` images.

        `images` (n, 3, side, side) are all of them, or this process's where `mesh.spreads_images`.
        """
        return self._call(self.wrapped, images, count)

    def evaluate(self, images: Tensor, count: int) -> Tensor:
        """Return the same logits, neither compiled nor prepared for an all-reduce of gradients."""
        return self._call(self.plain, images, count)

    def _call(self, module: nn.Module, images: Tensor, count: int) -> Tensor:
        return module(images, count) if self.mesh.spreads_images else module(images)

    def exchanging(self, now: bool) -> AbstractContextManager[None]:
        """Return a context in which a backward pass all-reduces gradients if `now`, else only accumulates them."""
        return nullcontext() if now or not isinstance(self.wrapped, DistributedDataParallel) else self.wrapped.no_sync()


def parallelize(net: Network, config: TrainConfig, mesh: Mesh, trains: bool = True) -> Parallel:
    """Divide, move, compile and replicate a network, in place.

    Args:
        net: the whole network, on the CPU.
        config: whether to compile.
        mesh: the processes and their parallel mode.
        trains: false where only `evaluate` will be called, so that nothing is compiled or replicated.

    Raises:
        UserError: the mode cannot divide this network among these processes.
    """
    plain, shards = mode_of(mesh.parallel).divide(net, mesh)  # columns, or fully connected layers
    share_statistics(net, mesh)
    gpu_convolutions.adapt(net, mesh)
    net.to(device=mesh.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiles = config.compile and trains and not mesh.any(not can_compile(mesh.device))
    single: nn.Module = _compile(plain) if compiles else plain
    dtype = torch.bfloat16 if config.reduce_precision == "bf16" else None
    if mesh.shards_parameters:
        from distalex.parallel.fsdp import shard_fully  # DTensor takes half a second to import

        return Parallel(net, plain, lambda: single, mesh, shard_fully(net, mesh, dtype))
    own = tuple(shards.rows) if mesh.spreads_images else ()  # rows that no other process of the gradient group has

    def wrap() -> nn.Module:
        shares = any(parameter.requires_grad for name, parameter in net.named_parameters() if name not in own)
        replicates = mesh.gradient_group is not None and trains and shares
        return _replicate(single, mesh, own, dtype) if replicates else single

    return Parallel(net, plain, wrap, mesh, shards)


def _compile(net: nn.Module) -> nn.Module:
    """Return `net` compiled, but for the layers that exchange."""
    for layer in net.modules():
        if isinstance(layer, ConvOfBoth | LinearOfBoth) or (isinstance(layer, BatchNorm | TorchBatchNorm) and layer.over):
            layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign]
    if isinstance(net, Network):
        return torch.compile(net)  # type: ignore[return-value]
    net.compile()  # a mode's own module
    return net


def _replicate(net: nn.Module, mesh: Mesh, own: tuple[str, ...], dtype: torch.dtype | None) -> DistributedDataParallel:
    # Keys of dropout masks and the parameters `own` differ between processes, so that DDP must not broadcast them.
    buffers = [name for name, _ in net.named_buffers()]
    rows = [name for name, _ in net.named_parameters() if name.endswith(own)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(net, buffers + rows)
    replicated = DistributedDataParallel(
        net,
        device_ids=[mesh.device.index] if mesh.device.type == "cuda" else None,
        process_group=mesh.gradient_group,
        gradient_as_bucket_view=True,
    )
    replicated.register_comm_hook((mesh, dtype), _sum_gradients)
    return replicated


def _sum_gradients(options: tuple[Mesh, torch.dtype | None], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """All-reduce gradients, in another dtype than theirs if `options` names one.

    Each process divided its loss by the global batch's size, so that the sum is the mean's gradient.
    """
    mesh, dtype = options
    group = mesh.gradient_group
    assert group is not None
    gradients = bucket.buffer()
    sent = gradients if dtype is None else gradients.to(dtype)
    mesh.traffic.send("gradients", all_reduce_bytes(sent.nbytes, group.size()))
    mesh.traffic.last_gradients_started = time.perf_counter()
    work = dist.all_reduce(sent, group=group, async_op=True)
    return work.get_future().then(lambda future: gradients.copy_(future.value()[0]))
