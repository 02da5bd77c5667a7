"""A network of one's own: any `nn.Module` as a `Network`."""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from distalex import random
from distalex.config.config import Config
from distalex.config.model import ModelConfig
from distalex.errors import UserError
from distalex.model.batch_norm import adopt_batch_norm
from distalex.model.network import Network
from distalex.model.own_code import call_build
from distalex.model.own_dropout import key_dropout
from distalex.model.own_passes import Seen, failing_in, look
from distalex.model.own_table import require_table

PROBES = 2
"""Images of the forward pass by which a network is looked at."""


class OwnNetwork(Network):
    """Any module that maps images to logits; its parameters and buffers keep their names.

    What a `Network` declares is read off a forward pass, but for the attributes `columns` and `reads` of the module, where it has them.

    Args:
        module: the module, on the CPU, with its initial weights.
        classes: number of logits.
        image_size: side of the square input in pixels.
        name: what `model.name` calls it, for messages.
        seen: what a forward pass showed.
    """

    module: nn.Module
    is_given = True

    def __init__(self, module: nn.Module, classes: int, image_size: int, name: str, seen: Seen) -> None:
        super().__init__()
        self.classes, self.image_size, self.name = classes, image_size, name
        self.classifier, self.macs, self.reads_the_image = seen.classifier, seen.macs, seen.first
        table = require_table(module, name, seen)
        self.columns, self.reads = table
        self.cuts = all(callable(getattr(module, method, None)) for method in ("convolve", "classify"))
        object.__setattr__(self, "module", module)  # not registered as a part, and everything of it registered as this network's
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers
        self._non_persistent_buffers_set = module._non_persistent_buffers_set

    @property
    def first_layer(self) -> str | None:
        """Name of the convolution that reads the image, None where there is none."""
        return self.reads_the_image

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (images, classes) for normalised images (images, 3, side, side)."""
        return self.module(x)

    def convolve(self, x: Tensor) -> Tensor:
        """Return the module's own `convolve`, for One Weird Trick."""
        return self.module.convolve(x)  # type: ignore[operator]

    def classify(self, x: Tensor) -> Tensor:
        """Return the module's own `classify`, for One Weird Trick."""
        return self.module.classify(x)  # type: ignore[operator]

    def train(self, mode: bool = True) -> OwnNetwork:
        """Set whether dropout drops and batch normalisation uses the batch, as the module itself does it."""
        self.module.train(mode)
        self.training = mode
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """Return a layer by the module's name of it, which may also be that of a field of this class."""
        return self.module.get_submodule(target) if target else self

    def set_submodule(self, target: str, module: nn.Module, strict: bool = False) -> None:
        """Replace a layer by the module's name of it."""
        self.module.set_submodule(target, module, strict)


def build_own(config: ModelConfig, classes: int, image_size: int, seed: int) -> OwnNetwork:
    """Build the network of one's own that `config` names on the CPU, its initial weights drawn by its own code, keyed by `seed`.

    The caller's random generators stay as they are. Raises UserError where it cannot be built, or is no network for such images.
    """
    name = config.name
    with torch.device("cpu"), _generators_keyed_by(seed):
        module = call_build(config, classes, image_size)
        if not isinstance(module, nn.Module):
            kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
            raise UserError(f"model.name={name}: returns {kind}, not an nn.Module; return the network itself")
        images = torch.randn(PROBES, 3, image_size, image_size, generator=random.generator(0, "probe"))
        module.cpu().eval()
        if any(isinstance(layer, LazyModuleMixin) for layer in module.modules()):
            with torch.no_grad(), failing_in(module, name, image_size):
                module(images)  # gives lazy layers their shapes and weights
        _require_trainable(module, name)
        for layer in list(module.modules()):
            if isinstance(layer, _BatchNorm):
                _require_averages(module, layer, name)
                adopt_batch_norm(layer)
        key_dropout(module)
        seen = look(module, images, name, classes)
        return OwnNetwork(module, classes, image_size, name, seen).train()


def complete(config: Config, classes: int) -> Config:
    """Return `config` with the number of columns that a network of one's own has; the config of another network as it is.

    Raises UserError where another number is given, or where `config.parallel` needs columns and the network has none.
    """
    model = config.model
    if not model.is_own:
        return config
    columns = build_own(model, classes, config.data.image_size, 0).columns
    if model.columns not in (1, columns):
        raise UserError(f"model.columns={model.columns}: {model.name} says that it has {columns}; leave model.columns out")
    if columns == 1 and config.parallel in ("model", "hybrid"):
        raise UserError(
            f"parallel={config.parallel}: {model.name} has no columns; give the module the attributes `columns`, e.g. 2, and `reads`, a "
            "dict with what each layer reads (docs/networks.md), or use --parallel=data"
        )
    return config.model_copy(update={"model": model.model_copy(update={"columns": columns})})


def _require_trainable(module: nn.Module, name: str) -> None:
    """Raise UserError where there is nothing to train, or numbers are of a kind that distalex does not train or save."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(f"model.name={name}: has no parameter to train; return a network with layers, not frozen")
    for key, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise UserError(f"model.name={name}: {key} is a {type(value).__name__} in its state dict; checkpoints hold tensors only")
        if value.dtype != torch.float32 and (value.is_floating_point() or value.is_complex()):
            raise UserError(
                f"model.name={name}: {key} holds {value.dtype}; return a network in torch.float32 (train.precision=bf16 rounds)"
            )


def _require_averages(module: nn.Module, layer: _BatchNorm, name: str) -> None:
    if layer.running_mean is None:
        key = next(key for key, one in module.named_modules() if one is layer)
        raise UserError(
            f"model.name={name}: {key} has track_running_stats=False, so that an image's logits would depend on those beside it; "
            "leave that out, or use nn.GroupNorm"
        )


@contextmanager
def _generators_keyed_by(seed: int) -> Iterator[None]:
    """Key the generators of PyTorch on the CPU, NumPy and Python by `seed` inside the block, and restore them after it."""
    states = torch.get_rng_state(), np.random.get_state(), python_random.getstate()
    low, high = random.key(seed, "init")
    torch.default_generator.manual_seed(low | (high >> 1) << 32)
    np.random.seed(low)
    python_random.seed(low)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        python_random.setstate(states[2])
