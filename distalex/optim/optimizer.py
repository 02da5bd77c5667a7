"""Optimizers, what each parameter's learning rate is, schedules, and the moving average of weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from distalex.config import config
from distalex.errors import UserError
from distalex.model.alexnet import BatchNorm
from distalex.parallel.start import Shards

Norms = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""The norms of tensors, such as gradients, that belong to these parameters."""


def _local_norms(parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(tensors)))


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose rate is scaled layer by layer (You, Gitman, Ginsburg 2017, arXiv:1708.03888, Algorithm 1).

    The local rate of a weight is trust * |w| / (|g| + decay * |w|); parameters without decay (biases, norms) are not
    adapted, as is usual.
    """

    def __init__(self, parameters: Any, lr: float, momentum: float, weight_decay: float, trust: float, norms: Norms = _local_norms) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})
        self.norms = norms

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        rates = self._local_rates()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter in rates:
                    update = update.add(parameter, alpha=group["weight_decay"]).mul_(rates[parameter])
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                state["momentum_buffer"].mul_(group["momentum"]).add_(update * group["lr"])
                parameter.sub_(state["momentum_buffer"])

    def _local_rates(self) -> dict[Tensor, Tensor]:
        """Of the parameters that decay."""
        groups = {
            parameter: group
            for group in self.param_groups
            if group["weight_decay"]
            for parameter in group["params"]
            if parameter.grad is not None
        }
        if not groups:
            return {}
        decaying = list(groups)
        weights = self.norms(decaying, decaying)
        gradients = self.norms(decaying, [parameter.grad for parameter in decaying if parameter.grad is not None])
        rates = {}
        for (parameter, group), weight, gradient in zip(groups.items(), weights, gradients, strict=True):
            rate = group["trust"] * weight / (gradient + group["weight_decay"] * weight)
            rates[parameter] = torch.where((weight > 0) & (gradient > 0), rate, 1.0)
        return rates


def clip_gradients(net: nn.Module, largest: float, shards: Shards) -> None:
    """Scale the gradients of `net` down where the norm of the whole network's exceeds `largest`; waits for no device."""
    gradients = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    norm = torch.linalg.vector_norm(shards.norms(gradients))
    torch._foreach_mul_(list(gradients.values()), (largest / (norm + 1e-6)).clamp(max=1.0))


def build_optimizer(net: nn.Module, options: config.Optim, shards: Shards) -> torch.optim.Optimizer:
    """The optimizer over the parameters of `net` that learn, one group for each learning rate and decay.

    `shards` says which of them are divided among processes.

    Raises UserError where `optim.layer_lr` names no layer.
    """
    layers = {name for name, module in net.named_modules() if any(True for _ in module.parameters(recurse=False))}
    for layer in options.layer_lr:
        if layer not in layers:
            raise UserError(f"optim.layer_lr={layer}: no such layer; there are {', '.join(sorted(layers))}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(_rate_and_decay(name, net, options), []).append(parameter)
    parameters = [
        {"params": members, "lr": options.lr * rate, "rate": rate, "weight_decay": decay} for (rate, decay), members in groups.items()
    ]
    match options.name:
        case "sgd":
            return _eager(torch.optim.SGD)(
                parameters,
                lr=options.lr,
                momentum=options.momentum,
                nesterov=options.nesterov and options.momentum > 0,
                fused=True,
            )
        case "adam":
            return _eager(torch.optim.Adam)(parameters, lr=options.lr, betas=options.betas, eps=options.eps, fused=True)  # type: ignore[arg-type]
        case "adamw":
            return _eager(torch.optim.AdamW)(parameters, lr=options.lr, betas=options.betas, eps=options.eps, fused=True)  # type: ignore[arg-type]
        case "lars":
            names = {parameter: name for name, parameter in net.named_parameters()}

            def norms(parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
                """Of whole parameters, where this process has some rows of them."""
                return shards.norms({names[parameter]: tensor for parameter, tensor in zip(parameters, tensors, strict=True)})  # type: ignore[index]

            return LARS(parameters, options.lr, options.momentum, options.weight_decay, options.trust, norms)


@cache
def _eager(kind: type[torch.optim.Optimizer]) -> Any:
    """PyTorch's optimizer `kind`, which nothing compiles here: it then does not import the compiler, for two seconds, to tell it so."""
    step = inspect.unwrap(kind.step)

    def plain_step(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    for method in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        inner = inspect.unwrap(getattr(torch.optim.Optimizer, method))
        inner.__dict__.setdefault("__dynamo_disable", inner)  # where torch._compile looks first
    return type(kind.__name__, (kind,), {"step": plain_step})


def _rate_and_decay(name: str, net: nn.Module, options: config.Optim) -> tuple[float, float]:
    """Multiple of the learning rate, and weight decay, of the parameter `name`."""
    layer, _, kind = name.rpartition(".")
    rate = options.layer_lr.get(layer, 1.0)
    if isinstance(net.get_submodule(layer), BatchNorm):
        return rate, options.weight_decay if options.norm_decay else 0.0
    if kind == "bias":
        return rate * options.bias_lr, options.weight_decay if options.bias_decay else 0.0
    return rate, options.weight_decay


class Schedule:
    """The learning rate of each step of a run, as a share of `optim.lr`."""

    def __init__(self, options: config.Optim, total_steps: int, steps_per_epoch: int) -> None:
        self.options, self.total = options, max(1, total_steps)
        self.warmup = round(options.warmup_epochs * steps_per_epoch)
        self.reductions, self.best, self.waited = 0, math.inf, 0

    def at(self, step: int) -> float:
        """The share at `step` (from 0) of the run."""
        options = self.options
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, step / self.total)
        match options.schedule:
            case "constant":
                return 1.0
            case "step":
                return options.factor ** sum(done >= share for share in options.milestones)
            case "cosine":
                done = (step - self.warmup) / max(1, self.total - self.warmup)
                return options.final + (1 - options.final) * (1 + math.cos(math.pi * min(1.0, done))) / 2
            case "one_cycle":
                if done < options.peak:
                    return 0.04 + 0.96 * done / options.peak
                return options.final + (1 - options.final) * (1 - done) / (1 - options.peak)
            case "plateau":
                return options.factor**self.reductions

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Set every group's learning rate for `step`; returns that of a plain weight."""
        share = self.at(step)
        for group in optimizer.param_groups:
            group["lr"] = self.options.lr * share * group["rate"]
        return self.options.lr * share

    def evaluated(self, loss: float) -> None:
        """Tell the plateau schedule the test loss (Section 5)."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.options.patience and self.reductions < self.options.reductions:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, float]:
        return {"reductions": self.reductions, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.reductions, self.best, self.waited = int(state["reductions"]), float(state["best"]), int(state["waited"])


class MovingAverage:
    """An exponential moving average of a network's weights, by name."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        current = net.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), [current[name] for name in self.weights], 1.0 - self.decay)

    def swap(self, net: nn.Module) -> None:
        """Exchange the network's weights with the average; a second call puts them back."""
        for name, value in net.state_dict().items():
            held = value.clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(held)
