"""The paper's columns on devices of their own: each keeps its columns and reads the others at conv3, fc6, fc7 and fc8 only.

What each layer reads is `Network.reads`: model/networks/paper.py has the paper's Figure 2 as a table. Every parameter of the grouped
network is sliced on dim 0, so that joining the slices on dim 0 gives the whole network, and checkpoints do not depend on columns. Where
a layer reads both columns, the exchange starts first; the product with the local column is computed meanwhile, and then the
products with the others are added.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex import random
from distalex.errors import UserError, brief
from distalex.model.batch_norm import TorchBatchNorm
from distalex.model.dropout import KeyedDropout
from distalex.model.lrn import LocalResponseNorm
from distalex.model.network import Network
from distalex.model.own_dropout import DropoutOfAnyShape
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.shares import all_shares, share

ROWS = 256  # rows of a weight's gradient that a CPU computes at a time


def split_into_columns(net: Network, mesh: Mesh) -> Shards:
    """Keep this process's columns of every layer of `net`, in place; layers that read both columns exchange first.

    Every process then takes all images of its replica and returns whole logits, (images, classes).

    Args:
        net: the whole network; its number of columns is a multiple of the mesh's.
        mesh: processes that divide the columns.

    Raises:
        UserError: a layer, such as the classifier, has fewer outputs than the mesh has columns.
    """
    require_rows(net, mesh, tuple(net.reads))
    shards = Shards(mesh, {name: len(value) for name, value in net.state_dict().items() if value.dim()})  # all but counts of batches
    for name, reads in net.reads.items():
        layer = net.get_submodule(name)
        if isinstance(layer, nn.Conv2d):
            net.set_submodule(name, _conv(layer, name, reads, shards))
        elif isinstance(layer, nn.Linear):
            net.set_submodule(name, linear_of_both(layer, name, shards, joins=name == net.classifier))
    for name, module in net.named_modules():
        if isinstance(module, TorchBatchNorm):
            _divide_batch_norm(module, name, shards)
        if isinstance(module, LocalResponseNorm):
            module.columns = net.columns // mesh.columns
        elif isinstance(module, DropoutOfAnyShape):
            module.column = mesh.column
    divide_dropout(net, shards)
    return shards


def require_same_logits(net: Network, mesh: Mesh) -> Shards:
    """Split as `split_into_columns`, and compare the logits of two images with those of the whole network.

    Raises UserError where they differ: something between the layers of the table mixes the columns.
    """
    net.to(mesh.device).eval()
    side = net.image_size
    images = torch.randn(2, 3, side, side, generator=random.generator(0, "columns"), dtype=next(net.parameters()).dtype).to(mesh.device)
    what = f"parallel={mesh.parallel}: the network, divided by its table `reads`,"
    with torch.no_grad():
        expected = net(images)
        shards = split_into_columns(net, mesh)
        try:
            logits = net(images)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = brief(error)
            raise UserError(f"{what} fails ({reason}); take shapes from x, not from the whole network's channels") from None
    if (logits - expected).abs().max() > 1e-3 * expected.abs().max():
        raise UserError(
            f"{what} gives other logits than the whole one; between its layers every channel must be treated for itself, as activations, "
            "pooling, nn.BatchNorm2d and nn.Dropout do"
        )
    net.train()
    return shards


def _divide_batch_norm(layer: TorchBatchNorm, name: str, shards: Shards) -> None:
    """Keep this process's channels of a batch normalisation, in place."""
    for kind, whole in layer.named_buffers():
        layer.register_buffer(kind, shards.part(f"{name}.{kind}", whole).clone())
    _keep_rows(layer, layer, name, shards)
    layer.num_features //= shards.mesh.columns


def require_rows(net: Network, mesh: Mesh, layers: tuple[str, ...]) -> None:
    """Raise UserError unless every process gets at least one output of each of `layers`."""
    for name in layers:
        rows = len(net.get_parameter(f"{name}.weight"))
        if rows < mesh.columns:
            what = f"the data has {rows} classes" if name == net.classifier else f"model.{name}={rows}"
            raise UserError(
                f"parallel={mesh.parallel} divides the outputs of {name} among {mesh.columns} processes, and {what}; try --parallel=data"
            )


def divide_dropout(net: Network, shards: Shards) -> None:
    """Make the masks of units that processes divide start at this process's first unit."""
    for module in net.modules():
        if isinstance(module, KeyedDropout) and f"{module.follows}.weight" in shards.rows:
            module.first_unit = share(shards.rows[f"{module.follows}.weight"], shards.mesh.column, shards.mesh.columns).start


def _conv(layer: nn.Conv2d, name: str, reads: str, shards: Shards) -> nn.Conv2d:
    mesh = shards.mesh
    kind = ConvOfBoth if reads == "both" else nn.Conv2d
    groups = layer.groups // mesh.columns if reads == "own" else 1
    inputs = layer.in_channels if reads != "own" else layer.in_channels // mesh.columns
    with torch.device("meta"):
        places: Any = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, groups, layer.bias is not None)
        kept = kind(inputs, layer.out_channels // mesh.columns, *places)
    _keep_rows(kept, layer, name, shards)
    if isinstance(kept, ConvOfBoth):
        kept.mesh, kept.purpose, kept.inputs = mesh, name, all_shares(layer.in_channels, mesh.columns)
    return kept


def linear_of_both(layer: nn.Linear, name: str, shards: Shards, joins: bool) -> LinearOfBoth:
    """Shard `layer` by rows; its input is sharded as well. If `joins`, all-gather its output."""
    mesh = shards.mesh
    with torch.device("meta"):
        kept = LinearOfBoth(layer.in_features, len(shards.part(f"{name}.weight", layer.weight)), layer.bias is not None)
    _keep_rows(kept, layer, name, shards)
    kept.mesh, kept.purpose, kept.joins = mesh, name, joins
    kept.inputs = all_shares(layer.in_features, mesh.columns)
    kept.outputs = all_shares(layer.out_features, mesh.columns)
    return kept


def keep_linear(layer: nn.Linear, name: str, shards: Shards) -> nn.Linear:
    """Shard `layer` by rows; its input is replicated."""
    with torch.device("meta"):
        kept = nn.Linear(layer.in_features, len(shards.part(f"{name}.weight", layer.weight)), layer.bias is not None)
    _keep_rows(kept, layer, name, shards)
    return kept


def _keep_rows(kept: nn.Module, layer: nn.Module, name: str, shards: Shards) -> None:
    for kind, whole in list(layer.named_parameters()):
        part = shards.part(f"{name}.{kind}", whole.detach()).clone()
        kept.register_parameter(kind, nn.Parameter(part, requires_grad=whole.requires_grad))


class ConvOfBoth(nn.Conv2d):
    """A convolution that reads the channels of all columns and is given those of this process."""

    mesh: Mesh
    purpose: str
    inputs: list[slice]
    """Which input channels each process has."""

    def forward(self, x: Tensor) -> Tensor:
        """Return this process's output channels for its input channels, (images, channels / mesh.columns, height, width)."""
        return _ConvOfBoth.apply(_as_autocast(x), self.weight, self.bias, self)


class _ConvOfBoth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: ConvOfBoth) -> Tensor:
        mesh, columns = layer.mesh, layer.mesh.columns
        x = x.contiguous(memory_format=torch.channels_last)
        pixels = x.permute(0, 2, 3, 1)  # the order in memory
        arriving = mesh.start_exchange([pixels] * columns, [pixels.shape] * columns, layer.purpose)
        rounded = weight.to(x.dtype)
        parts = [rounded[:, part].contiguous(memory_format=torch.channels_last) for part in layer.inputs]
        shift = None if bias is None else bias.to(x.dtype)
        out = functional.conv2d(x, parts[mesh.column], shift, layer.stride, layer.padding, layer.dilation)
        inputs = [piece if column == mesh.column else piece.permute(0, 3, 1, 2) for column, piece in enumerate(arriving.wait())]
        inputs[mesh.column] = x
        for column in mesh.other_columns:
            out += functional.conv2d(inputs[column], parts[column], None, layer.stride, layer.padding, layer.dilation)
        ctx.save_for_backward(weight, *inputs, *parts)
        ctx.layer = layer
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layer, mesh = ctx.layer, ctx.layer.mesh
        weight, *saved = ctx.saved_tensors
        inputs, parts = saved[: mesh.columns], saved[mesh.columns :]
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)

        def through(column: int, *wanted: bool) -> Any:
            if layer.bias is None:
                wanted = (*wanted[:2], False)
            places = (layer.stride, layer.padding, layer.dilation, False, [0, 0], 1)
            return torch.ops.aten.convolution_backward(gradient, inputs[column], parts[column], [layer.out_channels], *places, wanted)

        own = inputs[mesh.column]
        leaving: list[Tensor] = [own] * mesh.columns
        for column in mesh.other_columns:
            leaving[column] = through(column, True, False, False)[0].permute(0, 2, 3, 1).contiguous()
        arriving = mesh.start_exchange(leaving, [own.permute(0, 2, 3, 1).shape] * mesh.columns, layer.purpose)
        total = torch.empty_like(weight)
        for column in mesh.other_columns:
            total[:, layer.inputs[column]] = through(column, False, True, False)[1]
        own_gradient, total[:, layer.inputs[mesh.column]], bias_gradient = through(mesh.column, True, True, True)
        pieces = arriving.wait()
        for column in mesh.other_columns:
            own_gradient += pieces[column].permute(0, 3, 1, 2)
        return own_gradient, total, None if bias_gradient is None else bias_gradient.to(weight.dtype), None


class LinearOfBoth(nn.Linear):
    """A fully connected layer that reads the outputs of all columns and is given those of this process."""

    mesh: Mesh
    purpose: str
    joins: bool
    inputs: list[slice]
    """Which inputs each process has."""
    outputs: list[slice]
    """Which outputs each process computes."""

    def forward(self, x: Tensor) -> Tensor:
        """Return this process's outputs, with `joins` all processes', for the inputs that it has, (images, inputs)."""
        out = _LinearOfBoth.apply(_as_autocast(x), self.weight, self.bias, self)
        return _Joined.apply(out, self) if self.joins else out


class _LinearOfBoth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: LinearOfBoth) -> Tensor:
        mesh = layer.mesh
        x = x.contiguous()
        shapes = [(len(x), part.stop - part.start) for part in layer.inputs]
        arriving = mesh.start_exchange([x] * mesh.columns, shapes, layer.purpose)
        rounded = weight.to(x.dtype)
        out = functional.linear(x, rounded[:, layer.inputs[mesh.column]], None if bias is None else bias.to(x.dtype))
        inputs = arriving.wait()
        inputs[mesh.column] = x
        for column in mesh.other_columns:
            out.addmm_(inputs[column], rounded[:, layer.inputs[column]].T)
        ctx.save_for_backward(rounded, *inputs)
        ctx.layer, ctx.dtype = layer, weight.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layer, mesh = ctx.layer, ctx.layer.mesh
        rounded, *inputs = ctx.saved_tensors
        gradient, own = gradients[0].contiguous(), layer.inputs[mesh.column]
        leaving = [inputs[column] if column == mesh.column else gradient @ rounded[:, part] for column, part in enumerate(layer.inputs)]
        arriving = mesh.start_exchange(leaving, [inputs[mesh.column].shape] * mesh.columns, layer.purpose)
        total = _weight_gradient(gradient, torch.cat(inputs, 1), ctx.dtype)
        own_gradient = gradient @ rounded[:, own]
        pieces = arriving.wait()
        for column in mesh.other_columns:
            own_gradient += pieces[column]
        return own_gradient, total, gradient.sum(0, dtype=ctx.dtype) if layer.bias is not None else None, None


class _Joined(torch.autograd.Function):
    """Gather every process's outputs for a loss that each of them computes: backward, the local slice and not the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: LinearOfBoth) -> Tensor:
        mesh = layer.mesh
        shapes = [(len(x), part.stop - part.start) for part in layer.outputs]
        pieces = mesh.start_exchange([x.contiguous()] * mesh.columns, shapes, "logits").wait()
        pieces[mesh.column] = x
        ctx.own = layer.outputs[mesh.column]
        return torch.cat(pieces, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0][:, ctx.own].contiguous(), None


def _weight_gradient(gradient: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return gradient.T @ x in `dtype`; on a CPU in blocks, cast while they are in the cache, since memory bandwidth limits it."""
    if dtype == x.dtype or x.device.type != "cpu":
        return (gradient.T @ x).to(dtype)
    turned = gradient.T.contiguous()
    total = torch.empty((len(turned), x.shape[1]), dtype=dtype)
    for block, rows in zip(total.split(ROWS), turned.split(ROWS), strict=True):
        block.copy_(rows @ x)
    return total


def _as_autocast(x: Tensor) -> Tensor:
    """Cast `x` as autocast casts the inputs of torch's layers, which it does not inside an autograd function."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
