"""Forward and backward passes recorded as a CUDA graph and replayed, so that a step costs the host one launch instead of hundreds.

Small networks take several times as long without, and large ones wait for a host that also reads images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from distalex.config.train import TrainConfig
from distalex.data.batches import MicroBatch, Mixed, Weights
from distalex.errors import brief
from distalex.model.network import Network
from distalex.parallel.parallelize import Parallel

Passes = Callable[[MicroBatch, int], tuple[Tensor, Tensor]]
"""The passes of a micro-batch of a step of so many images, which leave gradients. Returns the summed loss and how many are right."""
WARM_UP = 3  # steps before the recorded one, in which cuDNN chooses its kernels


def can_replay(forward: Parallel, config: TrainConfig) -> bool:
    """Whether the passes may be replayed: one process on a GPU, a network that does the same for every batch, nothing that looks inside."""
    alone = forward.mesh.alone and forward.mesh.device.type == "cuda"
    return alone and forward.net.is_static and config.accumulate == 1 and not config.compile and not config.profile


class Replay:
    """Passes that are replayed for batches like the first; others, such as an epoch's last, run as they are.

    Args:
        passes: the passes of a micro-batch.
        net: the network, whose parameters get gradients.
    """

    def __init__(self, passes: Passes, net: Network) -> None:
        self.passes, self.net = passes, net
        self.like: tuple[object, ...] | None = None
        self.warmed_up = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.refused = False

    def __call__(self, micro_batch: MicroBatch, total: int) -> tuple[Tensor, Tensor]:
        """Run or replay the passes. The results are valid until the next call."""
        like = (micro_batch.images.shape, micro_batch.images.dtype, micro_batch.mix is None, micro_batch.weights is None, total)
        if self.graph is None and like != self.like:
            self.like, self.warmed_up = like, 0
        if like != self.like or self.warmed_up < WARM_UP or self.refused:
            self.warmed_up += 1
            return self.passes(micro_batch, total)
        if self.graph is None:
            self._record(micro_batch, total)
        if self.graph is None:
            return self.passes(micro_batch, total)
        for held, tensor in zip(_tensors(self.inputs), _tensors(micro_batch), strict=True):
            held.copy_(tensor)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.results

    def _record(self, micro_batch: MicroBatch, total: int) -> None:
        """Record the passes, which computes nothing, or print why that is not possible, such as too little memory for it."""
        mix = micro_batch.mix and Mixed(*(tensor.clone() for tensor in micro_batch.mix))
        weights = micro_batch.weights and Weights(*(tensor.clone() for tensor in micro_batch.weights))
        self.inputs = MicroBatch(micro_batch.images.clone(), micro_batch.labels.clone(), micro_batch.first_row, mix, weights)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads read images and write checkpoints
                self.results = self.passes(self.inputs, total)
        except RuntimeError as error:
            self.refused = True
            torch.cuda.set_stream(stream)
            for parameter in self.net.parameters():
                parameter.grad = None
            reason = brief(error)
            print(f"distalex: steps cannot be replayed as a CUDA graph ({reason}); they are launched one by one", file=sys.stderr)
            return
        self.gradients = [(parameter, parameter.grad) for parameter in self.net.parameters() if parameter.grad is not None]
        self.graph = graph


def _tensors(micro_batch: MicroBatch) -> list[Tensor]:
    return [micro_batch.images, micro_batch.labels, *(micro_batch.mix or ()), *(micro_batch.weights or ())]
