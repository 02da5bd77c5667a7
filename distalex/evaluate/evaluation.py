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

from distalex.data.pipeline import Split
from distalex.errors import Stopped
from distalex.parallel.mesh import Mesh
from distalex.parallel.parallelize import Parallel


@dataclass(frozen=True)
class Evaluation:
    """The result of a network on a test set."""

    loss: float
    """Mean cross-entropy, without label smoothing."""
    top1: float
    """Accuracy in percent."""
    top5: float
    """Share of images with their class among the five likeliest, in percent."""
    count: int
    """Number of images."""
    confusion: Tensor
    """(classes, classes) int64: images of each actual class (row) by predicted class (column)."""

    def describe(self, note: str = "") -> str:
        """Top-1, loss and the number of images, with `note`, in words; top-5 too where there are more than five classes."""
        top5 = f"top-5 {self.top5:.2f} %  " if len(self.confusion) > 5 else ""
        return f"top-1 {self.top1:.2f} %  {top5}loss {self.loss:.4f}  ({self.count:,} images{note})"

    def numbers(self) -> dict[str, Any]:
        """Return the fields of an `eval` row of metrics.jsonl."""
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5, "count": self.count}


@torch.no_grad()
def evaluate(
    forward: Parallel,
    split: Split,
    mesh: Mesh,
    mirror: bool = False,
    ten_crop: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Evaluate a network on the whole of `split`, summed over the replicas; the result is the same on every rank.

    Each image is seen through its centre crop. `mirror`: its logits are averaged with those of its mirror image. `ten_crop`: the softmax
    outputs of ten crops are averaged (Section 4.1). Raises Stopped, on every rank, as soon as `stop_requested` is true on all.
    """
    forward.net.eval()
    classes = forward.net.classes
    sums = torch.zeros(4, dtype=torch.float64, device=mesh.device)  # loss, top-1, top-5, images
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=mesh.device)
    batches = split.stored() if ten_crop else split.test()
    for batch in batches:
        if stop_requested():  # every rank has as many batches and the same answer
            batches.close()
            forward.net.train()
            raise Stopped
        if not len(batch.labels) and not mesh.shards_parameters:
            continue
        net = partial(forward.evaluate, count=len(batch.labels))
        logits = logits_of_crops(net, split.augmentation.ten_crops(batch.images)) if ten_crop else logits_of(net, batch.images, mirror)
        places = places_of(logits, batch.labels)
        loss = functional.cross_entropy(logits, batch.labels, reduction="sum")
        sums += torch.stack([loss, (places < 1).sum(), (places < 5).sum(), torch.full_like(loss, len(places))])
        confusion += torch.bincount(batch.labels * classes + logits.argmax(1), minlength=classes * classes)
    loss, top1, top5, count = mesh.sum(sums).tolist()
    confusion = mesh.sum(confusion).view(classes, classes).cpu()
    forward.net.train()
    return Evaluation(loss / count, 100.0 * top1 / count, 100.0 * top5 / count, int(count), confusion)


def places_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the place (n,) int64 of each label among its logits (n, classes), 0 for the likeliest class.

    Equal logits, which bf16 often gives, are ordered by class number, as `likeliest` and argmax do. A logit that is NaN comes last.
    """
    own, classes = logits.gather(1, labels[:, None]), torch.arange(logits.shape[1], device=logits.device)
    return (~((logits < own) | ((logits == own) & (classes >= labels[:, None])))).sum(1)


def likeliest(logits: Tensor, count: int) -> Tensor:
    """Return the `count` likeliest classes (n, count) int64 of logits (n, classes), in order; equal logits by class number."""
    return logits.sort(dim=1, descending=True, stable=True).indices[:, :count]


def logits_of(net: Callable[[Tensor], Tensor], images: Tensor, mirror: bool = False) -> Tensor:
    """Return fp32 logits (n, classes) of crops (n, 3, size, size), computed in the precision of `images`.

    `mirror`: averaged with the logits of the mirror images.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16):
        logits = net(images).float()
        return (logits + net(images.flip(3)).float()) / 2 if mirror else logits


def logits_of_crops(net: Callable[[Tensor], Tensor], crops: Iterable[Tensor]) -> Tensor:
    """Return logits (n, classes) with the mean softmax output over several crops (n, 3, size, size) of the same images."""
    outputs = [logits_of(net, crop).log_softmax(1) for crop in crops]
    return torch.stack(outputs).logsumexp(0) - math.log(len(outputs))
