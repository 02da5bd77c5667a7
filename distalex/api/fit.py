"""Train from Python: in this process, or on processes started from it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distalex.api.configs import ConfigLike, read_config
from distalex.api.processes import train_on_processes
from distalex.api.trained_run import TrainedRun
from distalex.config.config import Config
from distalex.errors import UserError
from distalex.machine.home import provide_home
from distalex.parallel.topology import Topology, layout

if TYPE_CHECKING:
    from distalex.train.loop import Summary


def fit(
    what: ConfigLike = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    config: ConfigLike = None,
    processes: int = 1,
    **options: Any,
) -> TrainedRun:
    """Train a network and return its run, as `python -m distalex.train` does.

    Ctrl-C, or a notebook's stop button, saves and returns the run so far. Other signals save and are then raised again.

    Args:
        what: a shipped config's name, a YAML file or a Config; or a folder, archive or table of images, or a prepared file.
        overrides: options by dotted name, e.g. {"train.max_steps": 20}; Python values, or text as on a command line.
        config: the config, where `what` holds images.
        processes: processes to start for `parallel`; 1 trains in this one, or in those that torchrun started.
        options: options without a dot: name, seed, parallel, runs_dir, device.

    Raises:
        UserError: before anything is written, where options, processes, data and weights do not fit.
        TrainingError: the loss is not finite, the disk refuses the last checkpoint, or a process is lost.
    """
    chosen = read_config(what, overrides, config, options, "fit")
    topology = Topology.from_environment()
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise UserError(f"processes={processes!r}: a number from 1 is needed, e.g. fit(…, processes=2, parallel='model')")
    if processes > 1 and topology.world_size > 1:
        raise UserError(f"processes={processes}: this is one of {topology.world_size} processes of a job already; leave processes out")
    if chosen.parallel != "auto" and not chosen.model.is_own:  # which says only when it is built how many columns it has
        try:
            layout(chosen.parallel, max(processes, topology.world_size), chosen.model.columns)
        except UserError as error:
            raise UserError(f"{error}; from Python: fit(…, processes=NUMBER)") from None
    provide_home()
    summary = train_on_processes(chosen, processes) if processes > 1 else _train_here(chosen)
    return TrainedRun(summary.folder, summary.step, summary.evaluation)


def _train_here(config: Config) -> Summary:
    """Train in this process. PyTorch's default generator is left as it was."""
    import torch

    from distalex.train.loop import train

    try:
        with torch.random.fork_rng(devices=[]):
            summary = train(config)
    except SystemExit as leaving:  # raised by a signal's handler, where there is nothing to save yet
        signal.raise_signal(int(leaving.code or 0) - 128)
        raise
    if summary.stop_signal not in (None, signal.SIGINT):
        signal.raise_signal(summary.stop_signal)
    return summary
