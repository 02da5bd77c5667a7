"""One Weird Trick (Krizhevsky 2014): convolutions data parallel, fully connected layers divided, on the same devices.

Convolutions have most of the arithmetic and few parameters, fully connected layers the reverse, so that each kind is divided in the way
that communicates less. This is scheme (c) of that paper: a batch passes through the fully connected layers in rounds of an equal share of
every process's images, and a round's activations are sent while the round before is computed. All rounds belong to one step, and its
gradient is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distalex.errors import UserError
from distalex.model.dropout import KeyedDropout
from distalex.model.network import Network
from distalex.parallel.columns import divide_dropout, keep_linear, linear_of_both, require_rows
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.parallel.traffic import Arriving
from distalex.shares import shares_of_rounds


class OneWeirdTrick(nn.Module):
    """A network that convolves this process's images and passes all processes' through its rows of the fully connected layers.

    Args:
        net: the whole network, of which this process's rows of the fully connected layers are kept, in place.
        mesh: processes that divide them.

    Raises:
        UserError: there is no fully connected layer besides the classifier, or one has fewer outputs than there are processes.
    """

    def __init__(self, net: Network, mesh: Mesh) -> None:
        super().__init__()
        layers = net.linear_layers
        if len(layers) < 2:
            raise UserError(f"parallel={mesh.parallel}: this network has no fully connected layers to divide; use parallel=data")
        if not net.cuts:
            raise UserError(
                f"parallel={mesh.parallel}: the network needs methods convolve and classify (docs/networks.md); use parallel=data"
            )
        require_rows(net, mesh, layers)
        rows = {name: len(value) for name, value in net.named_parameters() if name.rpartition(".")[0] in layers}
        self.net, self.mesh, self.shards, self.purpose = net, mesh, Shards(mesh, rows), layers[0]
        self.convolve: Callable[[Tensor], Tensor] = net.convolve
        self.classify: Callable[[Tensor], Tensor] = net.classify
        for name in layers:
            layer = net.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            if name == layers[0]:  # every process has all its inputs
                net.set_submodule(name, keep_linear(layer, name, self.shards))
            else:
                net.set_submodule(name, linear_of_both(layer, name, self.shards, joins=name == layers[-1]))
        divide_dropout(net, self.shards)

    def forward(self, x: Tensor, images: int) -> Tensor:
        """Return logits (images, classes) of all `images` of the batch; `x` (n, 3, side, side) are this process's."""
        rounds = Rounds(self.mesh, images, self.purpose)
        own = _Depart.apply(self.convolve(x), rounds)
        logits = []
        for number, piece in enumerate(own):
            arrived = _Arrive.apply(piece, rounds, number)
            logits.append(self.classify(arrived))
            self._shift_masks(len(arrived))
        return torch.cat(logits)

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compile the convolutions and the fully connected layers, without the exchange between them."""
        self.convolve, self.classify = (torch.compile(part, *arguments, **options) for part in (self.net.convolve, self.net.classify))

    def _shift_masks(self, rows: int) -> None:
        for module in self.net.modules():
            if isinstance(module, KeyedDropout):  # a new tensor, since the backward pass of this round may need the old one
                module.draw = module.draw + torch.tensor([0, 0, rows], dtype=torch.int32).to(module.draw.device, non_blocking=True)


class Rounds:
    """How many images of each round each process has, and the exchanges under way.

    Args:
        mesh: processes that exchange.
        images: images of the batch.
        purpose: name of the layer that reads what is exchanged, by which traffic is counted.
    """

    def __init__(self, mesh: Mesh, images: int, purpose: str) -> None:
        self.mesh, self.purpose = mesh, purpose
        everyone = [shares_of_rounds(images, column, mesh.columns) for column in range(mesh.columns)]
        self.counts = [[part.stop - part.start for part in parts] for parts in zip(*everyone, strict=True)]
        """Images of each process, by round."""
        self.arriving: list[Arriving] = []
        self.returning: dict[int, Arriving] = {}

    @property
    def own_counts(self) -> list[int]:
        """This process's images, by round."""
        return [counts[self.mesh.column] for counts in self.counts]


class _Depart(torch.autograd.Function):
    """Send this process's activations to all processes, a round at a time; backward, wait for their gradients and add them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounds: Rounds) -> tuple[Tensor, ...]:
        ctx.rounds = rounds
        pieces = [piece.clone() for piece in x.split(rounds.own_counts)]
        for piece, counts in zip(pieces, rounds.counts, strict=True):
            shapes = [(count, x.shape[1]) for count in counts]
            rounds.arriving.append(rounds.mesh.start_exchange([piece] * rounds.mesh.columns, shapes, rounds.purpose))
        return tuple(pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rounds = ctx.rounds
        whole = torch.cat(gradients)
        for number, own in enumerate(whole.split(rounds.own_counts)):
            pieces = rounds.returning[number].wait()
            for column in rounds.mesh.other_columns:
                own += pieces[column]
        return whole, None


class _Arrive(torch.autograd.Function):
    """Receive a round's activations of all processes; backward, send each process the gradient of its activations."""

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
        rounds.returning[ctx.number] = mesh.start_exchange(leaving, [own.shape] * mesh.columns, rounds.purpose)
        return own.clone(), None, None
