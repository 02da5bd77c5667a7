"""One Weird Trick (Krizhevsky 2014): convolutions data parallel, fully connected layers divided, on the same devices.

The convolutions hold nearly all the arithmetic and few parameters, the fully connected layers the reverse, so each kind
is divided where its communication is cheap. This is the paper's scheme (c): a batch goes through the fully connected
layers in rounds, each of an equal share of every device's images, so that a round's activations cross while the one
before is computed. All rounds belong to one step, whose gradient is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distalex.model.alexnet import AlexNet
from distalex.model.dropout import KeyedDropout
from distalex.parallel.columns import divide_dropout, keep_linear, linear_of_both, require_rows
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.parallel.traffic import Arriving
from distalex.shares import shares_of_rounds

DIVIDED = ("fc6", "fc7", "fc8")


class OneWeirdTrick(nn.Module):
    """A network whose convolutions take this process's images, and whose fully connected layers everybody's.

    `net` keeps this process's rows of fc6, fc7 and fc8, in place. Raises UserError where one has fewer than processes.
    """

    def __init__(self, net: AlexNet, mesh: Mesh) -> None:
        super().__init__()
        require_rows(net, mesh, DIVIDED)
        assert net.fc6 is not None and net.fc7 is not None  # which the configuration saw to
        rows = {name: len(value) for name, value in net.named_parameters() if name.rpartition(".")[0] in DIVIDED}
        self.net, self.mesh, self.shards = net, mesh, Shards(mesh, rows)
        self.convolve: Callable[[Tensor], Tensor] = net.convolve
        self.classify: Callable[[Tensor], Tensor] = net.classify
        net.fc6 = keep_linear(net.fc6, "fc6", self.shards)
        net.fc7 = linear_of_both(net.fc7, "fc7", self.shards, joins=False)
        net.fc8 = linear_of_both(net.fc8, "fc8", self.shards, joins=True)
        divide_dropout(net, self.shards)

    def forward(self, x: Tensor, images: int) -> Tensor:
        """Logits (images, classes) of all `images`, of which `x` (n, 3, side, side) are this process's."""
        rounds = Rounds(self.mesh, images)
        own = _Depart.apply(self.convolve(x), rounds)
        logits = []
        for number, piece in enumerate(own):
            arrived = _Arrive.apply(piece, rounds, number)
            logits.append(self.classify(arrived))
            self._shift_masks(len(arrived))
        return torch.cat(logits)

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compile what lies between the exchanges."""
        self.convolve, self.classify = (torch.compile(part, *arguments, **options) for part in (self.net.convolve, self.net.classify))

    def _shift_masks(self, rows: int) -> None:
        for module in self.net.modules():
            if isinstance(module, KeyedDropout):  # a new tensor: the backward pass of this round may need the old one
                module.draw = module.draw + torch.tensor([0, 0, rows], dtype=torch.int32).to(module.draw.device, non_blocking=True)


class Rounds:
    """How many images of each round each process has, and what is on its way."""

    def __init__(self, mesh: Mesh, images: int) -> None:
        self.mesh = mesh
        everyone = [shares_of_rounds(images, column, mesh.columns) for column in range(mesh.columns)]
        self.counts = [[part.stop - part.start for part in parts] for parts in zip(*everyone, strict=True)]
        """Of each round, images of each process."""
        self.arriving: list[Arriving] = []
        self.returning: dict[int, Arriving] = {}

    @property
    def own_counts(self) -> list[int]:
        return [counts[self.mesh.column] for counts in self.counts]


class _Depart(torch.autograd.Function):
    """Sends this process's activations to all, a round at a time; backward, waits for what comes back of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounds: Rounds) -> tuple[Tensor, ...]:
        ctx.rounds = rounds
        pieces = [piece.clone() for piece in x.split(rounds.own_counts)]
        for piece, counts in zip(pieces, rounds.counts, strict=True):
            shapes = [(count, x.shape[1]) for count in counts]
            rounds.arriving.append(rounds.mesh.start_exchange([piece] * rounds.mesh.columns, shapes, "fc6"))
        return tuple(pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rounds = ctx.rounds
        whole = torch.cat(gradients)
        for number, own in enumerate(whole.split(rounds.own_counts)):
            for column, piece in enumerate(rounds.returning[number].wait()):
                if column != rounds.mesh.column:
                    own += piece
        return whole, None


class _Arrive(torch.autograd.Function):
    """A round's activations of all processes; backward, each process's gradient goes back to it and is added up there."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rounds: Rounds, number: int) -> Tensor:
        ctx.rounds, ctx.number = rounds, number
        pieces = rounds.arriving[number].wait()
        pieces[rounds.mesh.column] = own
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rounds, mesh = ctx.rounds, ctx.rounds.mesh
        leaving = [piece.contiguous() for piece in gradients[0].split(rounds.counts[ctx.number])]
        own = leaving[mesh.column]
        rounds.returning[ctx.number] = mesh.start_exchange(leaving, [own.shape] * mesh.columns, "fc6")
        return own.clone(), None, None
