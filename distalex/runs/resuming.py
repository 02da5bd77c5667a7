"""What a run resumes from, and what may change when it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.config.own_network import split_name
from distalex.config.schema import flatten, validate
from distalex.data.contents import changed_classes, changed_images
from distalex.errors import UserError
from distalex.runs.checkpoint import find, is_finite, load, load_newest, newest_first
from distalex.runs.folder import RunFolder

MAY_CHANGE = (
    "parallel",
    "device",
    "name",
    "runs_dir",
    "log.",
    "checkpoint.",
    "data.root",
    "data.workers",
    "train.threads",
    "train.timeout",
    "train.max_steps",
    "train.early_stop",
    "train.compile",
    "train.profile",
)
"""Prefixes of the options that say where, how fast and how long a run trains, and not what it computes."""
ORDERED_BY = (
    "seed",
    "train.batch_size",
    *(f"data.{key}" for key in ("name", "dataset", "train", "order", "holdout", "validation", "fraction")),
)
"""Options that decide which samples each step of an epoch takes."""


def find_state(config: Config, folder: RunFolder, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Load the state that `checkpoint.resume` names: of the folder's newest good checkpoint, of another run's, or None to start.

    Raises UserError where the folder belongs to another run, its options or sample order changed, or its numbers are not finite.
    """
    resume = config.checkpoint.resume
    if resume == "auto":
        if not folder.exists():
            return None
        require_same_run(config, folder)
        return _find_own_state(config, folder, say)
    if resume == "never":
        if folder.exists():
            raise UserError(f"name={folder.name}: {folder.path}/ exists; choose another --name, or resume it with --checkpoint.resume=auto")
        return None
    path = find(resume, config.runs_dir)
    if folder.exists() and path.parent.parent.resolve() != folder.path.resolve():
        raise UserError(
            f"name={folder.name}: {folder.path}/ exists and is not the run of checkpoint.resume={resume}; choose another --name"
        )
    state = load(path)
    if not is_finite(state):
        raise UserError(f"checkpoint.resume={resume}: {path}: its weights or its optimizer's state are not finite; name an earlier one")
    _require_same_order(config, path, state)
    return state


def require_same_run(config: Config, folder: RunFolder) -> None:
    """Raise UserError unless the folder's config.yaml and `config` differ by nothing but `MAY_CHANGE`.

    A folder that lost its config.yaml but holds checkpoints is a run: each has the config as well.
    """
    path = folder.path / "config.yaml"
    if path.is_file():
        _require_same_file(config, folder)
        if changes := _changed_options(load_config(str(path)), config):
            raise UserError(
                f"checkpoint.resume=auto: {folder.path}/ was started with other options: {changes}; keep these, or choose another --name"
            )
    elif not newest_first(folder.checkpoints):
        raise UserError(f"checkpoint.resume=auto: {folder.path}/ has no config.yaml and is not a run; choose another --name")


def _require_same_file(config: Config, folder: RunFolder) -> None:
    """Raise UserError where the file of a network of one's own is there and has another text than the run's copy of it."""
    recorded = load_config(str(folder.path / "config.yaml")).model
    if not recorded.code or not config.model.code:
        return
    path = Path(split_name(config.model.name)[0]).expanduser()
    now = path.read_text(encoding="utf-8") if path.is_file() else config.model.code
    if now != recorded.code:
        raise UserError(
            f"checkpoint.resume=auto: {path} has changed since the run began; restore it, resume with the run's copy, "
            f"--model.name={folder.path / 'network.py'}:{split_name(recorded.name)[1]}, or start a new run with --name=NEW "
            f"--model.weights={folder.name} --model.name={config.model.name}"
        )


def _find_own_state(config: Config, folder: RunFolder, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Load the newest good checkpoint of a run's folder; None where the run has to start anew.

    Raises UserError where it was saved with other options, as another run's that was copied there, and where a run that began from
    another's checkpoint has none.
    """
    state = load_newest(folder.checkpoints, say)
    if state is None:
        if origin := _origin(folder):
            raise UserError(
                f"checkpoint.resume=auto: {folder.path}/ began from {origin} and holds no good checkpoint; begin again from that one with "
                "--name=NEW --checkpoint.resume=RUN"
            )
        say(f"{folder.path}: no checkpoint to resume from; starting from the first step")
    elif changes := _changed_options(validate(Config, state["config"], {}), config):
        name = f"step-{state['progress']['step']:08d}.pt"
        raise UserError(
            f"checkpoint.resume=auto: {folder.checkpoints / name} was saved with other options: {changes}; keep these, remove a file that "
            "is not of this run, or start a new run with --name=NEW --checkpoint.resume=FILE"
        )
    return state


def _origin(folder: RunFolder) -> str:
    """What a run began from, in words; empty where it began at the first step."""
    path = folder.path / "config.yaml"
    if path.is_file() and (resume := load_config(str(path)).checkpoint.resume) not in ("auto", "never"):
        return f"checkpoint.resume={resume}"
    return f"another run's checkpoint of step {step}" if (step := folder.first_step()) else ""


def _changed_options(before: Config, now: Config) -> str:
    """The options that may not change when a run is resumed and did, in words."""
    was, is_ = (flatten(config.model_dump(mode="json")) for config in (before, now))
    changed = [key for key in is_ if was.get(key) != is_[key] and not key.startswith(MAY_CHANGE)]
    if before.model.code and before.model.code == now.model.code and split_name(before.model.name)[1] == split_name(now.model.name)[1]:
        changed = [key for key in changed if key != "model.name"]  # the same file in another place
    return _changes(was, is_, changed[:4])


def _require_same_order(config: Config, path: Path, state: dict[str, Any]) -> None:
    """Resuming mid-epoch requires the same sample order, since that decides which samples are left."""
    done = state["progress"]["step_in_epoch"]
    before, now = flatten(state["config"]), flatten(config.model_dump(mode="json"))
    changed = [key for key in ORDERED_BY if before.get(key, now[key]) != now[key]]
    if done and changed:
        resume = config.checkpoint.resume
        raise UserError(
            f"checkpoint.resume={resume}: {path.name} is {done} steps into an epoch; resuming mid-epoch requires the same sample order, "
            f"and {_changes(before, now, changed)}; keep these, or start from its weights with --model.weights={resume}"
        )


def require_same_data(config: Config, saved: dict[str, Any], now: dict[str, Any], say: Callable[[str], None]) -> None:
    """Raise UserError where the data is not that of the checkpoint `saved`; `now` has what a checkpoint of this run says of it.

    Classes and their order, which is that of the outputs, have to be the same. `auto` requires the same images as well, as does an epoch
    that another run began; at the end of an epoch the new run may train on others, which is reported.
    """
    resume, before = config.checkpoint.resume, saved.get("data", {})  # an earlier distalex did not save it
    is_auto = resume == "auto"
    changed = changed_classes(saved["classes"], now["classes"])
    if not changed:
        changed = changed_images(before, now["data"], now["classes"], ("train", "test") if is_auto else ("train",))
        if changed and not is_auto and not saved["progress"]["step_in_epoch"]:
            say(f"checkpoint.resume={resume}: the data has changed since the checkpoint: {changed}")
            return
    if changed:
        raise UserError(
            f"checkpoint.resume={resume}: the data has changed since the checkpoint: {changed}; restore it, or start a new run from the "
            f"weights with --name=NEW --model.weights={config.name if is_auto else resume}"
        )


def _changes(before: dict[str, Any], now: dict[str, Any], options: Iterable[str]) -> str:
    return ", ".join(f"{option} was {before.get(option)} and is {now[option]}" for option in options)
