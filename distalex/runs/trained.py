"""A trained network opened from a run or checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distalex.config.config import Config
from distalex.config.schema import validate
from distalex.console import Console
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.statistics import Statistics
from distalex.data.open import Data, open_data
from distalex.errors import UserError
from distalex.machine.precision import arithmetic
from distalex.model.initial_weights import build_model
from distalex.model.network import Network
from distalex.parallel.mesh import Mesh
from distalex.runs.checkpoint import find, load


@dataclass(frozen=True)
class Trained:
    """A network from a checkpoint with all that using it needs."""

    net: Network
    config: Config
    classes: tuple[str, ...]
    state: dict[str, Any]
    path: Path

    def views(self, device: torch.device, dtype: torch.dtype | None = None) -> Augmentation:
        """How it sees stored images, in the run's arithmetic or in `dtype`."""
        state, options = self.state, self.config
        statistics = Statistics(tuple(state["mean"]), tuple(tuple(row) for row in state["covariance"]))
        return Augmentation(
            options.data, state["side"], statistics, options.seed, device, dtype or arithmetic(options.train.precision, device)
        )


def load_trained(place: str, runs_dir: str) -> Trained:
    """The network of a run or checkpoint on the CPU, with its moving average if it has one, in evaluation mode.

    Raises UserError where the file is missing, damaged or something else.
    """
    path = find(place, runs_dir)
    state = load(path)
    config = validate(Config, state["config"], {})
    net = build_model(config.model, len(state["classes"]), config.data.image_size, config.seed)
    try:
        net.load_state_dict(state["average"] or state["model"])
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: its weights do not fit its configuration ({' '.join(str(error).split())[:160]})") from None
    return Trained(net.eval(), config, tuple(state["classes"]), state, path)


def open_data_of(trained: Trained, data_root: str | None, batch_size: int, mesh: Mesh, console: Console) -> Data:
    """The images that a network was trained with, from `data_root` if they have moved. Raises UserError for other classes."""
    section = trained.config.data.model_copy(update={"root": data_root or trained.config.data.root, "cache": "none"})
    train = trained.config.train
    with console.showing():
        data = open_data(
            *(section, mesh, console.say, console.progress),
            batch_size=batch_size,
            micro_batches=train.accumulate,
            precision=train.precision,
            seed=trained.config.seed,
        )
    if data.classes != trained.classes:
        raise UserError(
            f"{trained.path}: trained on {len(trained.classes)} classes ({', '.join(trained.classes[:3])}, …), "
            f"the data has {len(data.classes)}; name other data with --data_root=DIR"
        )
    return data
