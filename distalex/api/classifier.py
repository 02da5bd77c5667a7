"""A trained network from Python: predict, evaluate, export."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distalex.api.inputs import stored_images
from distalex.config.config import Config
from distalex.config.schema import validate
from distalex.errors import UserError
from distalex.machine.home import provide_home
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology
from distalex.predict.drawing import png_of
from distalex.predict.predictions import TOP, Prediction, predict_images
from distalex.runs.checkpoint import newest_run
from distalex.runs.trained import Trained, load_trained

if TYPE_CHECKING:
    from distalex.evaluate.evaluation import Evaluation
    from distalex.model.network import Network

DRAWN = 16
"""Most images that a notebook shows of a list of predictions."""


def load(place: Any = None, *, runs_dir: str | os.PathLike[str] = "runs", device: str = "auto") -> Classifier:
    """Open a trained network.

    Args:
        place: a run, its folder or its name in `runs_dir`, or a checkpoint; by default the newest run. A run stands for its best
            checkpoint.
        runs_dir: folder of the runs.
        device: auto, cpu or cuda.

    Raises:
        UserError: it is missing, damaged, or there is no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={device}: must be one of auto, cpu, cuda")
    place = getattr(place, "folder", place)  # of a run
    if place is None:
        place = newest_run(os.fspath(runs_dir))
    if not isinstance(place, (str, os.PathLike)) or not os.fspath(place):
        raise UserError(f"{place!r:.80}: a run, its folder or name, or a checkpoint is needed, e.g. distalex.load('runs/NAME')")
    provide_home()
    trained = load_trained(os.path.expanduser(os.fspath(place)), os.fspath(runs_dir))
    trained.to(choose_device(device, Topology()))
    return Classifier(trained, device)


class Classifier:
    """A trained network that labels images."""

    def __init__(self, trained: Trained, device: str = "auto") -> None:
        self.trained, self.device = trained, device

    def __repr__(self) -> str:
        config = self.config
        size = f"{config.data.image_size}x{config.data.image_size}"
        return f"Classifier({config.model.name} network, {size}, {len(self.classes)} classes, {str(self.path)!r})"

    @property
    def net(self) -> Network:
        """The network itself, an nn.Module in evaluation mode: normalised images (n, 3, size, size) in, logits (n, classes) out."""
        return self.trained.net

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.trained.classes

    @property
    def config(self) -> Config:
        """Config of the run that trained it."""
        return self.trained.config

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.trained.path

    @property
    def step(self) -> int:
        """Optimizer steps of the checkpoint."""
        return int(self.trained.state["progress"]["step"])

    def predict(self, images: Any, top: int = TOP) -> Predictions:
        """Predict one or several images.

        Args:
            images: paths of files, folders and archives; PIL images of any mode; uint8 arrays (height, width, 3), also grey (height,
                width), with transparency (height, width, 4) or a batch (n, height, width, 3); uint8 tensors (3, height, width) or a
                batch (n, 3, height, width); or a list of these.
            top: classes of each prediction, the likeliest first.

        Returns:
            A list in the order of the images, each with .label, .probability and .top, a list of (label, probability).

        Raises:
            UserError: something is no readable image; says which.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UserError(f"top={top!r}: a number of classes from 1 is needed")
        found = Predictions()
        with torch.inference_mode():
            for batch in stored_images(images, self.trained.state["side"], self.trained.state.get("resize", "short_side")):
                found += predict_images(self.trained, *batch, top=top)
                found.pixels = torch.cat([found.pixels, batch.pixels])[:DRAWN] if len(found.pixels) else batch.pixels[:DRAWN].clone()
        return found

    def inputs(self, images: Any) -> Tensor:
        """Return images, as `predict` takes them, as the network's input: (n, 3, size, size), cropped and normalised, on its device."""
        device = next(self.net.parameters()).device
        augmentation = self.trained.augmentation(device, torch.float32)
        batches = stored_images(images, self.trained.state["side"], self.trained.state.get("resize", "short_side"))
        size = self.config.data.image_size
        return torch.cat([torch.empty(0, 3, size, size, device=device), *(augmentation.test(one.pixels.to(device)) for one in batches)])

    def evaluate(self, data_root: str | os.PathLike[str] | None = None, **options: Any) -> Evaluation:
        """Evaluate on the whole test set: loss, top1 and top5 in percent, count, confusion; options as of `distalex.evaluate`.

        `data_root`: where the data is, if it has moved. Raises UserError where it is missing or has other classes.
        """
        from distalex.evaluate import run

        return run(self.path, data_root=data_root, **{"device": self.device, **options})

    def export(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the network for other programs: FILE.onnx, FILE.pt2, FILE.safetensors or FILE.pth. Raises UserError."""
        from distalex.export.options import ExportOptions
        from distalex.export.work import export_run

        return export_run(validate(ExportOptions, {"run": str(self.path), "out": os.fspath(out), "overwrite": overwrite}, {}))


class Predictions(list[Prediction]):
    """A list of predictions. A notebook shows the first of them as pictures with their labels."""

    def __init__(self, predictions: Iterable[Prediction] = ()) -> None:
        super().__init__(predictions)
        self.pixels = torch.empty(0, 0, 0, 3, dtype=torch.uint8)
        """The first images, (n, side, side, 3) uint8."""

    def __repr__(self) -> str:
        lines = [f"  {prediction!r}," for prediction in self[:DRAWN]]
        more = [f"  … {len(self) - DRAWN:,} more"] if len(self) > DRAWN else []
        return "\n".join(["[", *lines, *more, "]"]) if self else "[]"

    def _repr_png_(self) -> bytes | None:
        """Draw the images with their labels and bars of probabilities."""
        if not len(self.pixels):
            return None
        return png_of(list(self[: len(self.pixels)]), self.pixels[: len(self)])
