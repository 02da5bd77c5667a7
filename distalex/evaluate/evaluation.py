"""Exact evaluation: every test image counts once, on any number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distalex.config.train import TrainConfig
from distalex.data.pipeline import Split
from distalex.errors import Stopped
from distalex.parallel.mesh import Mesh
from distalex.parallel.parallelize import Parallel


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a test set."""

    loss: float
    """Mean cross-entropy, without smoothing."""
    top1: float
    """Percent."""
    top5: float
    """Percent."""
    count: int
    confusion: Tensor
    """(classes, classes) int64: how many of the class (row) were taken for each class (column)."""

    def numbers(self) -> dict[str, Any]:
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5, "count": self.count}


@torch.no_grad()
def evaluate(
    forward: Parallel,
    split: Split,
    mesh: Mesh,
    config: TrainConfig,
    ten_crop: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """The network on the whole of `split`, summed over the replicas; the same result on every rank.

    Raises Stopped, on every rank, once `stop_requested` says so on all.

    Each image is seen in its centre, or with `ten_crop` in ten views whose soft-max outputs are averaged (Section 4.1).
    """
    forward.net.eval()
    classes = forward.net.classes
    sums = torch.zeros(4, dtype=torch.float64, device=mesh.device)  # loss, top-1, top-5, images
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=mesh.device)
    batches = split.stored() if ten_crop else split.test()
    for batch in batches:
        if stop_requested():  # every rank has as many batches, and the same answer
            batches.close()
            forward.net.train()
            raise Stopped
        if not len(batch.labels):
            continue
        net = partial(forward.evaluate, count=len(batch.labels))
        if ten_crop:
            logits = logits_of_ten(net, split.augmentation.ten_crops(batch.images), config)
        else:
            logits = logits_of(net, batch.images, config)
        hits = logits.topk(min(5, classes)).indices == batch.labels[:, None]
        loss = functional.cross_entropy(logits, batch.labels, reduction="sum")
        sums += torch.stack([loss, hits[:, 0].sum(), hits.sum(), torch.full_like(loss, len(hits))])
        confusion += torch.bincount(batch.labels * classes + logits.argmax(1), minlength=classes * classes)
    loss, top1, top5, count = mesh.sum(sums).tolist()
    confusion = mesh.sum(confusion).view(classes, classes).cpu()
    forward.net.train()
    return Evaluation(loss / count, 100.0 * top1 / count, 100.0 * top5 / count, int(count), confusion)


def logits_of(net: Callable[[Tensor], Tensor], images: Tensor, config: TrainConfig) -> Tensor:
    """fp32 logits (n, classes), computed in the precision of `images`; the mean with the mirror images' where the run says so."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16):
        logits = net(images).float()
        return (logits + net(images.flip(3)).float()) / 2 if config.mirror_test else logits


def logits_of_ten(net: Callable[[Tensor], Tensor], views: Iterable[Tensor], config: TrainConfig) -> Tensor:
    """Logits (n, classes) whose soft-max is the mean of the soft-max outputs on each of ten views."""
    config = config.model_copy(update={"mirror_test": False})  # mirror images are among the views
    outputs = [logits_of(net, view, config).log_softmax(1) for view in views]
    return torch.stack(outputs).logsumexp(0) - math.log(len(outputs))
