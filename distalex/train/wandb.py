"""Weights & Biases: a run's curves, tables and checkpoints. It may fail without harm; metrics.jsonl is the record."""

from __future__ import annotations

import hashlib
import json
import netrc
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from distalex.config.config import Config
from distalex.config.log import LogConfig
from distalex.config.schema import flatten
from distalex.console import Console
from distalex.data.open import Data
from distalex.errors import UserError, brief
from distalex.evaluate.evaluation import Evaluation
from distalex.predict.predictions import Prediction, choose_test_images, predict_images
from distalex.runs.folder import RunFolder
from distalex.runs.resuming import MAY_CHANGE
from distalex.runs.trained import load_trained

MOST_CLASSES = 50  # of a confusion matrix that anybody reads
SECTIONS = {
    "images_per_second": "speed",
    "mfu": "speed",
    "data_wait_fraction": "speed",
    "comm_bytes": "communication",
    "comm_exposed_fraction": "communication",
    "comm_bytes_by": "communication",
    "comm_exposed_by": "communication",
    "gradients": "gradients",
    "weights": "weights",
    "updates": "updates",
}
"""Groups of panels beside `train`: W&B lays panels out by what stands before a name's first slash."""


def wandb_mode(config: LogConfig) -> str:
    """`offline`, `online` or `disabled`: the environment's WANDB_MODE, unless `log.wandb` disables it."""
    return "disabled" if config.wandb == "disabled" else os.environ.get("WANDB_MODE", config.wandb)


def check_wandb(config: LogConfig) -> None:
    """Raise UserError for what W&B would only fail at later: online without a key, where it asks and waits, and names it refuses."""
    mode = wandb_mode(config)
    if mode not in ("offline", "online", "disabled", "dryrun"):
        raise UserError(f"environment variable WANDB_MODE={mode}: must be one of offline, online, disabled; correct or unset it")
    if mode != "disabled" and (wrong := set(config.project) & set("/\\#?%:")):
        raise UserError(f"log.project={config.project}: Weights & Biases allows no {' '.join(sorted(wrong))} in it; choose another name")
    if mode != "online" or os.environ.get("WANDB_API_KEY"):
        return
    try:
        if netrc.netrc().authenticators("api.wandb.ai"):
            return
    except (OSError, netrc.NetrcParseError):
        pass
    raise UserError(
        f"{'WANDB_MODE' if config.wandb != 'online' else 'log.wandb'}=online: no key; set WANDB_API_KEY or run `wandb login`, or use "
        "--log.wandb=offline and `wandb sync` the run later"
    )


class WeightsAndBiases:
    """A Weights & Biases run of rank 0. Any failure of it is one warning, and training goes on."""

    def __init__(self, config: Config, folder: Path, console: Console) -> None:
        self.run: Any = None
        self.waiting = ""
        self.console, self.folder = console, folder
        self.mode = wandb_mode(config.log)
        if self.mode == "disabled":
            return
        if "WANDB_DATA_DIR" not in os.environ:  # what waits to be uploaded lies with the run, and not in the user's home
            os.environ["WANDB_DATA_DIR"] = self.waiting = str(folder.resolve() / "wandb")
        try:
            import wandb

            self.run = wandb.init(
                id=self._id_of(folder) if self.mode == "online" else None,
                resume="allow" if self.mode == "online" else None,
                project=config.log.project,
                name=folder.name,
                group=folder.name,
                tags=[config.parallel],
                dir=str(folder),
                mode=self.mode,  # type: ignore[arg-type]
                config={**config.model_dump(mode="json"), "experiment": experiment(config)},
                settings=wandb.Settings(silent=True, console="off", init_timeout=60),
            )
            self.run.define_metric("eval/top1", summary="max,last")
            self.run.define_metric("eval/loss", summary="min,last")
        except Exception as error:
            self._give_up(error)

    @staticmethod
    def _id_of(folder: Path) -> str:
        """The same for every part of a run that is online; offline parts have each their own, lest one overwrites another when synced."""
        kept = folder / "wandb" / "id"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(secrets.token_hex(4), encoding="utf-8")
        return kept.read_text(encoding="utf-8").strip()

    def log(self, values: dict[str, Any], step: int) -> None:
        """A row of kind `train` of metrics.jsonl."""
        sections: dict[str, Any] = {}
        for key, value in values.items():
            section = SECTIONS.get(key, "train")
            inner = {key: value} if section != key else value
            sections.setdefault(section, {}).update(inner)
        self._try(lambda run: run.log(flatten(sections, separator="/"), step=step))

    def log_epoch(self, values: dict[str, Any], step: int) -> None:
        """A row of kind `epoch`."""
        self._try(lambda run: run.log({f"epoch/{key}": values[key] for key in ("loss", "top1")}, step=step))

    def log_evaluation(self, evaluation: Evaluation, classes: Sequence[str], step: int) -> None:
        """The numbers, and the confusion matrix where there are few enough classes."""

        def send(run: Any) -> None:
            values: dict[str, Any] = {f"eval/{key}": value for key, value in evaluation.numbers().items()}
            if len(classes) <= MOST_CLASSES:
                values["eval/confusion"] = _confusion_plot(evaluation.confusion, classes)
            run.log(values, step=step)

        self._try(send)

    def log_predictions(self, look: Callable[[], tuple[Sequence[Prediction], Tensor]], step: int) -> None:
        """A table of the images (n, side, side, 3) uint8 and what each is taken for, that `look` gives; asked only where W&B is on."""

        def send(run: Any) -> None:
            import wandb

            table = wandb.Table(columns=["image", "name", "actual", "predicted", "right", "probability", "others"])
            for one, image in zip(*look(), strict=True):
                cells = one.actual, one.labels[0], one.actual == one.labels[0], round(one.probabilities[0], 4), ", ".join(one.labels[1:])
                table.add_data(wandb.Image(image.numpy()), one.name, *cells)
            run.log({"eval/predictions": table}, step=step)

        self._try(send)

    def keep(self, checkpoints: dict[Path, list[str]], data: dict[str, Any], data_name: str) -> None:
        """Checkpoint files as versions of the artifact NAME-checkpoint, under these aliases; what they were trained on as an input."""

        def send(run: Any) -> None:
            import wandb

            if self.mode == "online":  # offline W&B knows no inputs
                source = wandb.Artifact(_artifact_name(f"{data_name}-data"), type="dataset", metadata=data)
                with source.new_file("data.json") as file:
                    json.dump(data, file, indent=1)
                run.use_artifact(source)
            for path, aliases in checkpoints.items():
                artifact = wandb.Artifact(_artifact_name(f"{self.folder.name}-checkpoint"), type="model", metadata={"data": data})
                artifact.add_file(str(path))
                run.log_artifact(artifact, aliases=aliases)

        self._try(send)

    def finish(self, exit_code: int) -> None:
        """End the W&B run; `exit_code` is 0 where the training did not fail."""
        self._try(lambda run: run.finish(exit_code=exit_code))
        if self.waiting and os.environ.get("WANDB_DATA_DIR") == self.waiting:  # another run of this process has its own
            del os.environ["WANDB_DATA_DIR"]

    def _try(self, action: Callable[[Any], Any]) -> None:
        if self.run is not None:
            try:
                action(self.run)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.run = None
        reason = brief(error)
        self.console.say(f"Weights & Biases logging stopped ({type(error).__name__}: {reason}); metrics.jsonl has everything")


def log_results(wandb: WeightsAndBiases | None, config: Config, folder: RunFolder, data: Data, step: int) -> None:
    """Log a table of predictions and, with `log.artifacts`, the checkpoints of a run that is done; nothing where `wandb` is None."""
    if wandb is None:
        return
    last, best = folder.checkpoints / f"step-{step:08d}.pt", folder.checkpoints / "best.pt"

    def look() -> tuple[list[Prediction], Tensor]:
        images, names, actual = choose_test_images(data, config.seed, config.log.images)
        return predict_images(load_trained(str(last), config.runs_dir), images, names, actual), images

    if config.log.images:
        wandb.log_predictions(look, step)
    if config.log.artifacts:
        is_same = best.samefile(last) if best.exists() else True
        files = {last: ["last", "best"]} if is_same else {last: ["last"], best: ["best"]}
        wandb.keep(files, {"name": config.data.name, "described": data.describe()}, config.data.name)


def experiment(config: Config) -> str:
    """The same short word for runs that differ by seed, topology and place alone: what to group by in W&B."""
    options = flatten(config.model_dump(mode="json", exclude={"seed"}))
    options = {key: value for key, value in options.items() if not key.startswith(MAY_CHANGE)}
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:6]
    return f"{config.data.name}-{config.model.label}-{digest}"


def _artifact_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def _confusion_plot(confusion: Tensor, classes: Sequence[str]) -> Any:
    """W&B's own panel of a confusion matrix, from counts (classes, classes): rows actual, columns predicted."""
    import wandb

    rows = [
        [actual, predicted, count]
        for actual, counts in zip(classes, confusion.tolist(), strict=True)
        for predicted, count in zip(classes, counts, strict=True)
    ]
    fields = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
    return wandb.plot_table("wandb/confusion_matrix/v1", wandb.Table(columns=list(fields), data=rows), fields, {"title": "Confusion"})
