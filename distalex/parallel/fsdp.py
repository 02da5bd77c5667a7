"""Fully sharded data parallel (FSDP) through PyTorch's `fully_shard`, for any network.

Replicas shard every parameter, its gradient and its optimizer state on dim 0. A unit of layers is all-gathered just before it computes,
forward and again backward, and freed after; its gradients are reduce-scattered as soon as they are there. With D processes each sends
3 (D - 1) / D of the parameters' bytes in a step, where DDP sends 2 (D - 1) / D.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from distalex.errors import UserError
from distalex.model.network import Network
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.parallel.traffic import Traffic
from distalex.shares import chunks

_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # its name before PyTorch 2.15
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
LEAST_SHARE = 0.01  # of the network's parameters in a unit; smaller layers are gathered with those around them


def shard_fully(net: Network, mesh: Mesh, dtype: torch.dtype | None) -> FullShards:
    """Shard the parameters of `net` among the replicas, in place; a forward pass gathers them.

    Every process has to take part in every pass, also without images.

    Args:
        net: the whole network, on the mesh's device; its parameters get the default memory format.
        mesh: the replicas.
        dtype: sums gradients in another dtype than theirs, if given.

    Raises:
        UserError: this PyTorch is too old, or a parameter has no dimension to shard.
    """
    if not hasattr(FSDPModule, "set_custom_all_gather"):
        raise UserError(
            f"parallel=fsdp: PyTorch {torch.__version__} lacks FSDPModule.set_custom_all_gather; upgrade it, or use parallel=data"
        )
    assert mesh.devices is not None
    whole = dict(net.named_parameters(remove_duplicate=False))
    for name, parameter in whole.items():
        if not parameter.dim():
            raise UserError(f"parallel=fsdp: parameter {name} has no dimension to shard; give it the shape (1,), or use parallel=data")
        parameter.data = parameter.data.contiguous()  # all that fully_shard takes; on a device they were channels-last
    devices, rows = mesh.devices["dp"], {name: len(parameter) for name, parameter in whole.items()}
    for unit in units_of(net):
        policy = MixedPrecisionPolicy(reduce_dtype=dtype)
        sharded = fully_shard(unit, mesh=devices, reshard_after_forward=True, mp_policy=policy)
        sharded.set_gradient_divide_factor(1.0)  # losses are divided by the global batch's size, so that gradients are summed
        sharded.set_force_sum_reduction_for_comms(True)  # gloo takes a mean for a sum (pytorch#162338)
        sharded.set_custom_all_gather(_AllGather(mesh.traffic))  # type: ignore[arg-type]
        sharded.set_custom_reduce_scatter(_ReduceScatter(mesh.traffic))  # type: ignore[arg-type]
    held: dict[str, nn.Parameter] = {}
    own: dict[nn.Parameter, nn.Parameter] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        if parameter not in own:
            own[parameter] = nn.Parameter(cast(DTensor, parameter.detach()).to_local(), parameter.requires_grad)
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(partial(_keep_gradient, own[parameter]))
        held[name] = own[parameter]
    return FullShards(mesh, rows, devices, held)


def _keep_gradient(own: nn.Parameter, sharded: Any) -> None:
    """Move the gradient of this process's rows to the parameter that the optimizer has."""
    gradient = sharded.grad.to_local()
    own.grad = gradient if own.grad is None else own.grad + gradient
    sharded.grad = None


def units_of(net: Network) -> list[nn.Module]:
    """Return the modules of `net` that are gathered one at a time, inner ones first and `net` itself last.

    A unit is the smallest module with a hundredth of all parameters that are in no smaller one. It is called in a forward pass, and no
    other module uses its parameters: both are needed for the pass to gather them.
    """
    owners = Counter(parameter for module in net.modules() for parameter in module.parameters(recurse=False))
    least = LEAST_SHARE * sum(parameter.numel() for parameter in owners)
    called, units, taken = _called(net), list[nn.Module](), set[nn.Parameter]()
    for module in reversed(list(net.modules())):  # children come after their parents
        if module is net or module not in called:
            continue
        left = [parameter for parameter in module.parameters() if parameter not in taken]
        if sum(parameter.numel() for parameter in left) >= least and all(owners[parameter] == 1 for parameter in left):
            units.append(module)
            taken.update(left)
    return [*units, net]


@torch.no_grad()
def _called(net: Network) -> set[nn.Module]:
    """Return the modules that a forward pass of one black image calls."""
    called = set[nn.Module]()
    hooks = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in net.modules()]
    training, modes = net.training, {module: module.training for module in net.modules()}
    like = next(net.parameters())
    net.eval()(like.new_zeros(1, 3, net.image_size, net.image_size))
    net.train(training)  # also of a network of one's own, whose module is not among its modules
    for module, mode in modes.items():
        module.training = mode
    for hook in hooks:
        hook.remove()
    return called


@dataclass(frozen=True)
class FullShards(Shards):
    """Shards of every parameter among the replicas, in the order and sizes of `torch.chunk`; the last processes may have no row."""

    devices: DeviceMesh | None = None
    """The replicas."""
    held: Mapping[str, nn.Parameter] = field(default_factory=dict)
    """This process's rows of each parameter by name, as plain tensors that share the network's memory."""

    axis = "dp"

    def places(self, name: str) -> list[slice]:
        """Return the rows of each process."""
        return chunks(self.rows[name], self.mesh.replicas)

    @property
    def number(self) -> int:
        """This process's number among those that divide the parameters."""
        return self.mesh.replica

    def parameters(self, net: nn.Module) -> Mapping[str, nn.Parameter]:
        """Return the parameters to optimise by name: this process's rows, which are plain tensors."""
        return {name: self.held[name] for name, _ in net.named_parameters()}

    def tensors(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the state dict of `net`, of each parameter this process's rows."""
        return {name: self.held[name].detach() if name in self.held else value for name, value in net.state_dict().items()}

    def load(self, net: nn.Module, whole: Mapping[str, Tensor]) -> None:
        """Take over this process's rows of a whole state dict. Raises RuntimeError where it is another network's."""
        net.load_state_dict({name: self._as_sharded(name, value) for name, value in whole.items()})

    def _as_sharded(self, name: str, whole: Tensor) -> Tensor:
        if name not in self.rows:
            return whole
        own, empty = self.part(name, whole).to(self.mesh.device).contiguous(), torch.empty(whole.shape, device="meta")
        assert self.devices is not None
        return DTensor.from_local(own, self.devices, [Shard(0)], run_check=False, shape=whole.shape, stride=empty.stride())


class _Buffers:
    """Buffers of collectives, and where their traffic is counted."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def count(self, purpose: str, nbytes: int, device: torch.device) -> Any:
        """Count a collective. Its time is exposed on a CPU, where it blocks, and unknown (NaN) on a GPU, where another stream runs it."""
        self.traffic.send(purpose, nbytes)
        if device.type == "cpu":
            return self.traffic.waiting(purpose, device)
        self.traffic.seconds[purpose] = math.nan
        return torch.autograd.profiler.record_function(f"starting {purpose}")


class _AllGather(_Buffers):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, async_op: bool = False) -> Any:
        with self.count("parameters", input_tensor.nbytes * (group.size() - 1), input_tensor.device):
            return _all_gather(output_tensor, input_tensor, group=group, async_op=async_op)


class _ReduceScatter(_Buffers):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, op: Any, async_op: bool = False) -> Any:
        with self.count("gradients", output_tensor.nbytes * (group.size() - 1), input_tensor.device):
            return _reduce_scatter(output_tensor, input_tensor, op=op, group=group, async_op=async_op)
