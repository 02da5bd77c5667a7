"""Exact evaluation: every test picture counts once, on any number of processes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distalex.config import config
from distalex.console import Console
from distalex.data.augment.augmentation import Statistics, Views
from distalex.data.beton.beton import write_atomically
from distalex.data.open import Pictures, Split, open_pictures
from distalex.errors import Stopped, UserError
from distalex.machine.precision import arithmetic
from distalex.model.alexnet import AlexNet, build_model
from distalex.parallel.parallelize import Parallel, parallelize
from distalex.parallel.start import Mesh, start_processes
from distalex.parallel.topology import Topology, layout
from distalex.runs import checkpoint


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
    options: config.Train,
    ten_crop: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """The network on the whole of `split`, summed over the replicas; the same result on every rank.

    Raises Stopped, on every rank, once `stop_requested` says so on all.

    Each picture is seen in its centre, or with `ten_crop` in ten views whose soft-max outputs are averaged (Section 4.1).
    """
    forward.net.eval()
    classes = forward.net.classes
    sums = torch.zeros(4, dtype=torch.float64, device=mesh.device)  # loss, top-1, top-5, pictures
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=mesh.device)
    batches = split.stored() if ten_crop else split.test()
    for batch in batches:
        if stop_requested():  # every rank has as many batches, and the same answer
            batches.close()  # type: ignore[attr-defined]
            forward.net.train()
            raise Stopped
        if not len(batch.labels):
            continue
        net = partial(forward.evaluate, pictures=len(batch.labels))
        logits = logits_of_ten(net, split.views.ten(batch.images), options) if ten_crop else logits_of(net, batch.images, options)
        hits = logits.topk(min(5, classes)).indices == batch.labels[:, None]
        loss = functional.cross_entropy(logits, batch.labels, reduction="sum")
        sums += torch.stack([loss, hits[:, 0].sum(), hits.sum(), torch.full_like(loss, len(hits))])
        confusion += torch.bincount(batch.labels * classes + logits.argmax(1), minlength=classes * classes)
    loss, top1, top5, count = mesh.sum(sums).tolist()
    confusion = mesh.sum(confusion).view(classes, classes).cpu()
    forward.net.train()
    return Evaluation(loss / count, 100.0 * top1 / count, 100.0 * top5 / count, int(count), confusion)


def logits_of(net: Callable[[Tensor], Tensor], images: Tensor, options: config.Train) -> Tensor:
    """fp32 logits (n, classes), computed in the precision of `images`; the mean with the mirror images' where the run says so."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16):
        logits = net(images).float()
        return (logits + net(images.flip(3)).float()) / 2 if options.mirror_test else logits


def logits_of_ten(net: Callable[[Tensor], Tensor], views: Iterable[Tensor], options: config.Train) -> Tensor:
    """Logits (n, classes) whose soft-max is the mean of the soft-max outputs on each of ten views."""
    options = options.model_copy(update={"mirror_test": False})  # mirror images are among the views
    outputs = [logits_of(net, view, options).log_softmax(1) for view in views]
    return torch.stack(outputs).logsumexp(0) - math.log(len(outputs))


@dataclass(frozen=True)
class Trained:
    """A network from a checkpoint with all that using it needs."""

    net: AlexNet
    config: config.Config
    classes: tuple[str, ...]
    state: dict[str, Any]
    path: Path

    def views(self, device: torch.device, dtype: torch.dtype | None = None) -> Views:
        """How it sees stored pictures, in the run's arithmetic or in `dtype`."""
        state, options = self.state, self.config
        statistics = Statistics(tuple(state["mean"]), tuple(tuple(row) for row in state["covariance"]))
        return Views(options.data, state["side"], statistics, options.seed, device, dtype or arithmetic(options.train, device))


def load_trained(place: str, runs_dir: str) -> Trained:
    """The network of a run or checkpoint on the CPU, with its moving average if it has one, in evaluation mode.

    Raises UserError where the file is missing, damaged or something else.
    """
    path = checkpoint.find(place, runs_dir)
    state = checkpoint.load(path)
    configuration = config.validate(config.Config, state["config"], {})
    net = build_model(configuration.model, len(state["classes"]), configuration.data.image_size, configuration.seed)
    try:
        net.load_state_dict(state["average"] or state["model"])
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: its weights do not fit its configuration ({' '.join(str(error).split())[:160]})") from None
    return Trained(net.eval(), configuration, tuple(state["classes"]), state, path)


def open_data_of(trained: Trained, data_root: str | None, batch_size: int, mesh: Mesh, console: Console) -> Pictures:
    """The pictures that a network was trained with, from `data_root` if they have moved. Raises UserError for other classes."""
    data = trained.config.data.model_copy(update={"root": data_root or trained.config.data.root, "cache": "none"})
    train = trained.config.train.model_copy(update={"batch_size": batch_size, "eval_batch_size": None})
    with console.showing():
        configuration = trained.config.model_copy(update={"data": data, "train": train})
        pictures = open_pictures(configuration, mesh, console.say, console.progress)
    if pictures.classes != trained.classes:
        raise UserError(
            f"{trained.path}: trained on {len(trained.classes)} classes ({', '.join(trained.classes[:3])}, …), "
            f"the data has {len(pictures.classes)}; name other data with --data_root=DIR"
        )
    return pictures


def evaluate_run(options: config.EvaluateOptions) -> Evaluation:
    """`python -m distalex.evaluate RUN`: print, and leave in the run's folder, what its network does on the test set."""
    trained = load_trained(options.run, options.runs_dir)
    base = trained.config.model_copy(update={"parallel": options.parallel, "device": options.device})
    if options.parallel != "auto":
        layout(options.parallel, Topology.from_environment().world_size, base.model.columns, f"evaluate {options.run}")
    with start_processes(base) as mesh:
        console = Console(mesh.is_first)
        forward = parallelize(trained.net, trained.config.train, mesh, trains=False)
        train = trained.config.train
        batch_size = options.batch_size or train.eval_batch_size or train.batch_size
        pictures = open_data_of(trained, options.data_root, batch_size, mesh, console)
        result = evaluate(forward, pictures.test, mesh, train, options.ten_crop)
        console.say(f"{trained.path} on the {pictures.test.count:,} {pictures.tested_on} pictures of {trained.config.data.name}")
        counted = f"{result.count:,} pictures{', ten views' * options.ten_crop}"
        console.say(f"top-1 {result.top1:.2f} %  top-5 {result.top5:.2f} %  loss {result.loss:.4f}  ({counted})")
        if mesh.is_first:
            report = {
                **result.numbers(),
                "views": "ten views" if options.ten_crop else "centre view",
                "checkpoint": trained.path.name,
                "classes": trained.classes,
                "confusion": result.confusion.tolist(),
            }
            if trained.path.parent.name == "checkpoints":
                write_atomically(trained.path.parent.parent / "evaluation.json", json.dumps(report).encode())
            if len(trained.classes) <= 20:
                console.say(confusion_table(result.confusion, trained.classes))
    return result


def confusion_table(confusion: Tensor, classes: tuple[str, ...]) -> str:
    """Rows are the actual class, columns the predicted one, in the same order."""
    width = max(len(name) for name in classes)
    cell = max(5, len(str(int(confusion.max()))) + 1)
    lines = [" " * width + "".join(f"{name[: cell - 1]:>{cell}}" for name in classes)]
    lines += [
        f"{name:<{width}}" + "".join(f"{count:>{cell}}" for count in row) for name, row in zip(classes, confusion.tolist(), strict=True)
    ]
    return "actual (rows) against predicted (columns):\n" + "\n".join(lines)
