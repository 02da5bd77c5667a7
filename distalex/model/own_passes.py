"""Look at a network of one's own through forward and backward passes: its layers, and whether a run of it depends on its config alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distalex import random
from distalex.errors import UserError, brief
from distalex.model.batch_norm import TorchBatchNorm
from distalex.model.network import Network
from distalex.model.own_code import describe, file_of
from distalex.model.own_dropout import DropoutOfAnyShape

IMAGES = 4
"""Images of a trial; the halves are compared with the whole."""
CLOSE = 1e-3  # of the largest number: rounding is 1e-5, another mask changes it by 1


@dataclass
class Seen:
    """What a forward pass shows of a network."""

    classifier: str = ""
    """Name of the last layer with as many outputs as there are classes; empty where there is none."""
    first: str | None = None
    """Name of the first convolution of three channels."""
    macs: int = 0
    """Multiplications of one image's forward pass."""
    called: dict[str, int] = field(default_factory=dict)
    """Calls of each layer, by name, in the order of first calls."""


@contextmanager
def failing_in(module: nn.Module, name: str, image_size: int) -> Iterator[None]:
    """Turn an exception of a forward pass inside the block into a UserError that names the innermost layer it came from."""
    inside: list[str] = []
    names = {id(layer): key for key, layer in module.named_modules()}

    def left(*_: Any) -> None:
        inside.pop()

    hooks = [layer.register_forward_pre_hook(lambda one, _: inside.append(names[id(one)])) for layer in module.modules()]
    hooks += [layer.register_forward_hook(left) for layer in module.modules()]
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, UserError):
            raise
        layer, reason = f" in {inside[-1]}" if inside and inside[-1] else "", describe(error, file_of(name))
        raise UserError(
            f"model.name={name}: fails{layer} on images of {image_size}x{image_size} pixels ({reason}); correct it, or try another "
            "data.image_size"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def look(module: nn.Module, images: Tensor, name: str, classes: int) -> Seen:
    """Return what a forward pass in evaluation shows of `module`, whose dropout layers learn the shapes of their inputs from it.

    Raises UserError where it fails or returns anything but logits (images, classes).
    """
    seen, names, size = Seen(), {id(layer): key for key, layer in module.named_modules()}, images.shape[-1]
    last: dict[str, tuple[str, bool]] = {}

    def called(layer: nn.Module, given: Any, output: Any) -> None:
        key = names[id(layer)]
        seen.called[key] = seen.called.get(key, 0) + 1
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and seen.first is None:
            seen.first = key
        if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == classes:
            last["layer"] = key, isinstance(layer, nn.Linear)
        if isinstance(layer, DropoutOfAnyShape) and given:
            layer.uses = seen.called[key]
            layer.rows_of_an_image = max(1, len(given[0]) // len(images))
            layer.units = given[0][0].numel()

    hooks = [layer.register_forward_hook(called) for layer in module.modules()]
    try:
        with FlopCounterMode(display=False) as counter, failing_in(module, name, size):
            logits = module(images)
    finally:
        for hook in hooks:
            hook.remove()
    require_logits(logits, len(images), classes, name, size)
    seen.classifier = last.get("layer", ("", False))[0]
    seen.macs = max(1, counter.get_total_flops() // 2 // len(images))
    return seen


def require_logits(logits: Any, images: int, classes: int, name: str, image_size: int) -> None:
    """Raise UserError unless `logits` is a tensor (images, classes) of floating-point numbers."""
    if not isinstance(logits, Tensor):
        what = f"a {type(logits).__name__}{f' of {len(logits)}' if isinstance(logits, (tuple, list, dict)) else ''}"
        raise UserError(
            f"model.name={name}: forward returns {what}; return the logits alone, (images, {classes}), without auxiliary outputs"
        )
    if logits.shape != (images, classes) or not logits.is_floating_point():
        raise UserError(
            f"model.name={name}: forward returns {logits.dtype} of shape {tuple(logits.shape)} for {images} images of "
            f"{image_size}x{image_size} pixels and {classes} classes; return logits of shape (images, {classes})"
        )


def try_training(net: Network, name: str, accumulates: bool, has_empty_shares: bool) -> list[str]:
    """Try training passes of a network of one's own, which stays as it is; return the names of parameters that its output does not use.

    With `accumulates` a step takes a batch in several passes; with `has_empty_shares` some process will have none of a batch's images.

    Raises:
        UserError: the network draws random numbers that no key decides, mixes the images of a batch other than by batch normalisation,
            or keeps state of a batch besides; or it does not do what this run needs. Names the layer where it is known.
    """
    if accumulates and any(isinstance(layer, TorchBatchNorm) for layer in net.modules()):
        raise UserError("train.accumulate: batch normalisation needs the whole batch at once; set it to 1, or use nn.GroupNorm")
    size = net.image_size
    images = torch.randn(IMAGES, 3, size, size, generator=random.generator(0, "trial"))
    buffers = {key: value.clone() for key, value in net.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        passes = _Passes(net, name, buffers)
        passes.set_batch_norm(training=False)
        whole = passes.outputs(images, 0, seed=1)
        again = passes.outputs(images, 0, seed=2)
        if culprit := _first_difference(whole, again):
            culprit, way_out = _way_out(net, culprit)
            raise UserError(
                f"model.name={name}: {culprit} draws random numbers that no key decides, so that a run would depend on the number of "
                f"processes; {way_out}"
            )
        half = IMAGES // 2
        kept: list[dict[str, Tensor]] = [passes.state_after(images), passes.state_after(images[:half])]
        parts = torch.cat([passes.outputs(images[:half], 0, seed=1)[-1][2], passes.outputs(images[half:], half, seed=1)[-1][2]])
        _require_same(parts, whole[-1][2], kept, name)
        saved = net.state_dict().keys()
        if lost := next((key for key, value in kept[0].items() if key not in saved and not torch.equal(value, buffers[key])), None):
            raise UserError(
                f"model.name={name}: forward changes its buffer {lost}, which checkpoints do not hold; register it with persistent=True, "
                "so that a run that is resumed goes on with it"
            )
        passes.set_batch_norm(training=True)
        if has_empty_shares:
            passes.try_without_images(images[:0])
        return passes.unused(images)


class _Passes:
    """Passes of a network that leave it as it was."""

    def __init__(self, net: Network, name: str, buffers: dict[str, Tensor]) -> None:
        self.net, self.name, self.buffers = net, name, buffers

    def set_batch_norm(self, training: bool) -> None:
        """Set whether batch normalisation uses the batch."""
        self.net.train()
        for layer in self.net.modules():
            if isinstance(layer, TorchBatchNorm):
                layer.train(training)

    def forward(self, images: Tensor, first_row: int, seed: int) -> Tensor:
        """Return logits; `first_row` keys the masks, and `seed` the generator of whatever else is random."""
        torch.manual_seed(seed)
        self.net.key_masks(0, 0, first_row)
        for layer in self.net.modules():
            if isinstance(layer, DropoutOfAnyShape):
                layer.calls = 0
        with failing_in(self.net.get_submodule(""), self.name, self.net.image_size):
            logits = self.net(images)
        require_logits(logits, len(images), self.net.classes, self.name, self.net.image_size)
        return logits

    def outputs(self, images: Tensor, first_row: int, seed: int) -> list[tuple[str, list[Tensor], Tensor]]:
        """Return name, inputs and output of every layer in the order in which they end; the network itself is the last."""
        found: list[tuple[str, list[Tensor], Tensor]] = []
        names = {id(layer): key for key, layer in self.net.named_modules()}

        def ended(layer: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                inputs = [one.detach().clone() for one in given if isinstance(one, Tensor)]
                found.append((names[id(layer)], inputs, output.detach().clone()))

        hooks = [layer.register_forward_hook(ended) for layer in self.net.modules()]
        try:
            with torch.no_grad():
                self.forward(images, first_row, seed)
        finally:
            for hook in hooks:
                hook.remove()
            self.restore()
        return found

    def state_after(self, images: Tensor) -> dict[str, Tensor]:
        """Return the buffers after a pass of `images`, but for those of dropout."""
        with torch.no_grad():
            self.forward(images, 0, 1)
        state = {key: value.clone() for key, value in self.net.named_buffers() if not key.endswith("draw")}
        self.restore()
        return state

    def try_without_images(self, none: Tensor) -> None:
        """Raise UserError where the network takes no empty batch."""
        try:
            with torch.no_grad():
                self.forward(none, 0, 1)
        except UserError as error:
            reason = brief(str(error).partition("(")[2].rpartition(")")[0])
            raise UserError(
                f"model.name={self.name}: some processes have no image of a batch, and the network takes no empty one "
                f"({reason}); use flatten(1) in place of view(n, -1), fewer processes or a larger train.batch_size"
            ) from None
        finally:
            self.restore()

    def unused(self, images: Tensor) -> list[str]:
        """Return the names of trainable parameters that get no gradient. Raises UserError where the backward pass fails or draws again."""
        try:
            logits = self.forward(images, 0, 1)
            calls = self._calls()
            if logits.requires_grad:
                logits.sum().backward()
        except RuntimeError as error:
            raise UserError(f"model.name={self.name}: its backward pass fails ({describe(error)}); correct it") from None
        finally:
            self.restore()
        if self._calls() != calls:
            raise UserError(
                f"model.name={self.name}: recomputes a dropout layer that it uses several times; give each place a layer of its own"
            )
        names = [key for key, parameter in self.net.named_parameters() if parameter.requires_grad and parameter.grad is None]
        self.net.zero_grad(set_to_none=True)
        return names

    def _calls(self) -> list[int]:
        return [layer.calls for layer in self.net.modules() if isinstance(layer, DropoutOfAnyShape)]

    @torch.no_grad()
    def restore(self) -> None:
        """Set all buffers to what they were."""
        for key, buffer in self.net.named_buffers():
            if key in self.buffers and buffer.shape == self.buffers[key].shape:
                buffer.copy_(self.buffers[key])


def _first_difference(one: list[tuple[str, list[Tensor], Tensor]], other: list[tuple[str, list[Tensor], Tensor]]) -> str:
    """Return the innermost layer with the same inputs and another output in two passes; empty where there is none."""
    if [name for name, _, _ in one] != [name for name, _, _ in other]:
        return "forward calls other layers each time and"
    for (name, inputs, output), (_, same, now) in zip(one, other, strict=True):
        if _are_close(output, now):
            continue
        if len(inputs) == len(same) and all(map(_are_close, inputs, same)):
            return name or "forward"
    return ""


def _way_out(net: Network, culprit: str) -> tuple[str, str]:
    """Return the layer in `culprit` that draws random numbers of its own, where it is one that is known to, and what to do."""
    inside = "" if culprit == "forward" else culprit
    for name, layer in net.named_modules():
        if not f"{name}.".startswith(f"{inside}." if inside else ""):
            continue
        if isinstance(layer, nn.MultiheadAttention) and layer.dropout:
            return f"{name} (nn.MultiheadAttention)", "give it dropout=0, and put an nn.Dropout behind it"
        if isinstance(layer, nn.RReLU):
            return f"{name} (nn.RReLU)", "use nn.LeakyReLU"
    return culprit, "use layers such as nn.Dropout in place of functions (F.dropout, torch.rand), or set their probability to 0"


def _are_close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return bool(torch.equal(one, other))
    scale = float(one.abs().max()) if one.numel() else 0.0
    return bool(((one - other).abs() <= CLOSE * max(scale, 1e-30)).all()) or not bool(torch.isfinite(one).all())


def _require_same(parts: Tensor, whole: Tensor, kept: list[dict[str, Tensor]], name: str) -> None:
    """Raise UserError where two halves of a batch give other logits than the whole, or leave other buffers."""
    if not _are_close(parts, whole):
        raise UserError(
            f"model.name={name}: an image's logits in training depend on the images beside it, so that a run would depend on the number of "
            "processes; keep the images in dimension 0 of every layer, and mix them by nn.BatchNorm alone"
        )
    for key, value in kept[0].items():
        if not torch.equal(value, kept[1][key]):
            raise UserError(
                f"model.name={name}: forward changes its buffer {key} by the batch, and every process has another share of it; keep "
                "statistics of a batch in nn.BatchNorm alone"
            )
