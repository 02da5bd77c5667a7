"""A trained network, opened from a run or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from distalex.config.config import Config
from distalex.config.schema import validate
from distalex.console import Console
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.statistics import Statistics
from distalex.data.contents import changed_classes, changed_images, describe_contents
from distalex.data.open import Data, open_data
from distalex.errors import TrainingError, UserError, brief
from distalex.machine.precision import arithmetic
from distalex.model.initial_weights import build_model
from distalex.model.network import Network
from distalex.parallel.mesh import Mesh
from distalex.runs.checkpoint import are_finite, find, load, newest_run


@dataclass(frozen=True)
class Trained:
    """A network from a checkpoint, with everything needed to use it."""

    net: Network
    """The whole network, in evaluation mode, with the moving average of the weights where the run kept one."""
    config: Config
    """Of the run that trained it."""
    classes: tuple[str, ...]
    """Names of the outputs, in order."""
    state: dict[str, Any]
    """The checkpoint (docs/run-directory.md)."""
    path: Path
    """The checkpoint's file."""

    def to(self, device: torch.device) -> None:
        """Move the network to `device`, in the memory format that its convolutions are fastest in."""
        self.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def augmentation(self, device: torch.device, dtype: torch.dtype | None = None) -> Augmentation:
        """Return what crops and normalises stored images as in the run, on `device`; in the run's arithmetic unless `dtype` is given."""
        state, config = self.state, self.config
        return Augmentation(
            config.data, state["side"], statistics_in(state), config.seed, device, dtype or arithmetic(config.train.precision, device)
        )

    def describe(self) -> str:
        """Format which checkpoint this is, e.g. `best.pt of step 120, test top-1 93.20 %`: the best top-1 of its run until then."""
        progress, best = self.state["progress"], self.path.name == "best.pt"
        accuracy = f", {self.config.data.tested_on} top-1 {progress['best_top1']:.2f} %" if best and progress["best_top1"] >= 0 else ""
        return f"{self.path.name} of step {progress['step']:,}{accuracy}"

    def require_finite(self, outputs: Tensor) -> None:
        """Raise TrainingError unless all of the network's `outputs` are finite: NaN has no likeliest class."""
        if not are_finite([outputs]):
            raise TrainingError(f"{self.path}: outputs of the network are not finite, so it predicts nothing; use an earlier checkpoint")


def statistics_in(state: dict[str, Any]) -> Statistics:
    """Return the colours by which a checkpoint's run normalises images."""
    return Statistics(tuple(state["mean"]), tuple(tuple(row) for row in state["covariance"]))


def load_trained(place: str, runs_dir: str) -> Trained:
    """Open the network of a path, or of the name of a run in `runs_dir`, on the CPU. A run stands for its best checkpoint, or its newest.

    Raises UserError where the checkpoint is missing, damaged, not finite or does not fit its own config.
    """
    path = find(place, runs_dir, best=True)
    state = load(path)
    config = validate(Config, state["config"], {})
    net = build_model(config.model, len(state["classes"]), config.data.image_size, config.seed)
    try:
        net.load_state_dict(state["average"] or state["model"])
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: its weights do not fit its config ({brief(error)})") from None
    if not are_finite(net.state_dict().values()):
        raise UserError(f"{path}: its weights are not finite; use an earlier checkpoint")
    return Trained(net.eval(), config, tuple(state["classes"]), state, path)


def open_trained(place: str | None, runs_dir: str, say: Callable[[str], None]) -> Trained:
    """Open what a command was given as RUN, the newest run in `runs_dir` where nothing was, as `load_trained`.

    Which run and which of its checkpoints that is goes to `say`, unless `place` is a checkpoint itself.
    """
    found = newest_run(runs_dir) if place is None else place
    trained = load_trained(found, runs_dir)
    if not Path(found).is_file():
        say(f"{trained.path.parent.parent}{', the newest run' * (place is None)}: {trained.describe()}")
    return trained


class Elsewhere(Protocol):
    """Options of a command on where the data of a run is now, and how it is read."""

    @property
    def data_root(self) -> str | None:
        """Where the data is, if not where it was."""

    @property
    def skip_bad(self) -> bool:
        """Whether to skip images that cannot be read."""


def open_data_of(trained: Trained, options: Elsewhere, batch_size: int, mesh: Mesh, console: Console, split: str = "test") -> Data:
    """Open the data set that a network was trained on, in global batches of `batch_size`; at `options.data_root`, if it has moved.

    Images are normalised by the checkpoint's statistics, whatever training images lie there. Says where those of `split` have changed.
    Raises UserError where it is missing or has other classes.
    """
    own = trained.config.data
    section = own.model_copy(update={"root": options.data_root or own.root, "skip_bad": own.skip_bad or options.skip_bad, "cache": "none"})
    train = trained.config.train
    with console.showing():
        data = open_data(
            *(section, mesh, console.say, console.progress),
            batch_size=batch_size,
            micro_batches=train.accumulate,
            precision=train.precision,
            seed=trained.config.seed,
            statistics=statistics_in(trained.state),
        )
    if changed := changed_classes(trained.classes, data.classes):
        raise UserError(
            f"{trained.path}: the data has other classes than it was trained on: {changed}; name the data it was trained on with "
            "--data_root=DIR"
        )
    if changed := changed_images(trained.state.get("data", {}), describe_contents(data.contents), data.classes, (split,)):
        console.say(f"{trained.path}: the data has changed since the checkpoint: {changed}")
    return data
