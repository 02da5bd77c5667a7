"""Faster convolutions on a GPU: the first on blocks of pixels, and columns that share a device in convolutions of their own.

cuDNN has no fast kernel for three input channels, nor for grouped convolutions in channels-last order. It adds biases and rectifies in
the pass that convolves; what follows then has a kernel of its own (gpu_after.py). Neither change affects results or parameters. A
process with several of the columns, but not all, keeps them in grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from distalex.kernels.available import has_triton, is_traced
from distalex.model.network import Network
from distalex.parallel.gpu_after import AfterColumns, Rectified, can_fuse, fuses, joined
from distalex.parallel.mesh import Mesh

Kind = TypeVar("Kind", bound=nn.Conv2d)


def adapt(net: Network, mesh: Mesh) -> None:
    """Replace the convolutions of `net` by those that are faster on this mesh's device, in place."""
    if mesh.device.type != "cuda":
        return
    has_all_columns = (mesh.columns == 1 or mesh.spreads_images) and not mesh.shards_parameters  # FSDP frees a bias with its layer
    first = net.get_submodule(net.first_layer) if net.first_layer else None
    if has_all_columns and (fuses(net) or (net.columns > 1 and "own" in net.reads.values())):
        _split_columns(net)
    elif net.first_layer and isinstance(first, nn.Conv2d) and first.stride[0] > 1:
        net.set_submodule(net.first_layer, _remade(first, BlockedConv))


def _split_columns(net: Network) -> None:
    """Make each column a tensor of its own from the first convolution to the last, in place."""
    fused, names = fuses(net), [*net.followed_by]
    for name, after in zip(names, [*names[1:], ""], strict=True):
        layer = _remade(net.get_submodule(name), ConvOfColumns)
        layer.columns, layer.reads_own = net.columns, net.columns > 1 and net.reads[name] == "own"
        followed_by = AfterColumns(net.get_submodule(net.followed_by[name]), layer.bias, net.columns)
        followed_by.reads_own, followed_by.splits = layer.reads_own, net.columns > 1 and net.reads.get(after) == "own"
        layer.fused, layer.splits = fused, followed_by.splits and not followed_by.pools
        net.set_submodule(name, layer)
        net.set_submodule(net.followed_by[name], followed_by)


def _remade(layer: nn.Module, kind: type[Kind]) -> Kind:
    """Return the convolution `layer` as `kind`, with the same parameter objects."""
    assert isinstance(layer, nn.Conv2d)
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    with torch.device("meta"):
        made = kind(layer.in_channels, layer.out_channels, kernel, stride, padding, groups=layer.groups, bias=layer.bias is not None)
    made.weight, made.bias = layer.weight, layer.bias
    return made


class BlockedConv(nn.Conv2d):
    """A convolution of stride 2 or more, computed on blocks of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (images, channels, side, side) in any memory format; the result is channels-last."""
        blocks = _in_blocks(x, self.kernel_size[0], self.stride[0], int(self.padding[0]))
        return functional.conv2d(blocks, _kernel_of_blocks(self.weight, self.stride[0]), self.bias)


def _in_blocks(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Turn blocks of stride x stride pixels into channels: (n, channels, side, side) -> (n, stride**2 * channels, blocks, blocks)."""
    count, channels, side, _ = x.shape
    steps = (side + 2 * padding - kernel) // stride + -(-kernel // stride)
    if not x.requires_grad and not is_traced() and has_triton(x.device):
        from distalex.kernels import blocks_triton

        return blocks_triton.in_blocks(x, steps, stride, padding)
    after = steps * stride - side - padding  # negative where no window reaches the last pixels
    pixels = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding, after, padding, after))
    blocks = pixels.reshape(count, steps, stride, steps, stride, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, steps, steps, stride**2 * channels).permute(0, 3, 1, 2)


def _kernel_of_blocks(weight: Tensor, stride: int) -> Tensor:
    """Return the weight (outputs, channels, kernel, kernel) for inputs in such blocks."""
    outputs, channels, kernel, _ = weight.shape
    steps = -(-kernel // stride)
    missing = steps * stride - kernel
    pixels = functional.pad(weight.permute(0, 2, 3, 1), (0, 0, 0, missing, 0, missing))
    blocks = pixels.reshape(outputs, steps, stride, steps, stride, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(outputs, steps, steps, stride**2 * channels).permute(0, 3, 1, 2)


class ConvOfColumns(nn.Conv2d):
    """A convolution of all columns, with a tensor for each where it or the next convolution reads its own column only.

    Where `fused` it also rectifies, and leaves the gradients of the ReLU and of its bias to the `AfterColumns` that follows.
    """

    columns: int
    reads_own: bool
    splits: bool
    """Whether the result is a tensor for each column, where fused; else it always is."""
    fused: bool

    def forward(self, x: Tensor | Sequence[Tensor]) -> list[Tensor]:  # type: ignore[override]
        """Convolve images (n, 3, side, side), or each column's (n, channels / columns, height, width), to one tensor or each column's."""
        inputs = [x] if isinstance(x, Tensor) else list(x)
        if self.reads_own and len(inputs) == 1:
            inputs = list(inputs[0].chunk(self.columns, 1))
        elif not self.reads_own:
            inputs = [joined(inputs)]
        weight, stride, padding = self.weight, self.stride[0], int(self.padding[0])
        if stride > 1:
            inputs, weight = [_in_blocks(inputs[0], self.kernel_size[0], stride, padding)], _kernel_of_blocks(weight, stride)
            stride, padding = 1, 0
        if self.fused and can_fuse(inputs[0]):
            parts = self.columns if self.splits or self.reads_own else 1
            return Rectified(_RectifiedConv.apply(weight, self.bias, padding, parts, *inputs))
        weights = weight.chunk(self.columns)
        biases = [None] * self.columns if self.bias is None else self.bias.chunk(self.columns)
        inputs = inputs if self.reads_own else inputs * self.columns
        return [functional.conv2d(*column, stride, padding) for column in zip(inputs, weights, biases, strict=True)]


class _RectifiedConv(torch.autograd.Function):
    """Convolutions and their ReLUs, of one tensor or each column's, to one or each column's.

    Takes the gradient before the ReLU, so that it passes back none of the bias's.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, padding: int, parts: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        rounded = weight.to(inputs[0].dtype)
        ctx.save_for_backward(rounded, *inputs)
        ctx.padding, ctx.parts, ctx.dtype = [padding, padding], parts, weight.dtype
        weights, biases = rounded.chunk(parts), bias.to(rounded.dtype).chunk(parts)
        columns = inputs if len(inputs) == parts else inputs * parts
        return tuple(_conv_relu(*column, ctx.padding) for column in zip(columns, weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        if len(inputs) == 1:
            gradients = (joined(gradients),)
        wanted = [any(ctx.needs_input_grad[4:]), ctx.needs_input_grad[0], False]
        through = [
            torch.ops.aten.convolution_backward(*column, None, [1, 1], ctx.padding, [1, 1], False, [0, 0], 1, wanted)
            for column in zip(gradients, inputs, weight.chunk(len(inputs)), strict=True)
        ]
        of_weight = torch.cat([one[1] for one in through]).to(ctx.dtype) if wanted[1] else None
        return of_weight, None, None, None, *(one[0] for one in through)


def _conv_relu(x: Tensor, weight: Tensor, bias: Tensor, padding: list[int]) -> Tensor:
    if not x.is_cuda:
        return functional.relu(functional.conv2d(x, weight, bias, 1, padding))
    return torch.cudnn_convolution_relu(x, weight, bias, [1, 1], padding, [1, 1], 1)
