"""What a run measures: metrics.jsonl, which is the record, and Weights & Biases, which may fail without harm."""

from __future__ import annotations

import json
import math
import netrc
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distalex.config import Config
from distalex.console import Console
from distalex.errors import UserError


class MetricsFile:
    """metrics.jsonl: one JSON object a line, flushed. Lines that a full disk refuses are kept and tried again with the next."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = path, say
        self.waiting: list[str] = []

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Numbers that are not finite become null, which JSON has."""
        self.waiting.append(json.dumps({"kind": kind, **_finite(values)}) + "\n")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = self.path.stat().st_size if self.path.exists() else 0
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write("".join(self.waiting))
            except OSError:
                os.truncate(self.path, size)  # no half line stays
                raise
            self.waiting.clear()
        except OSError as error:
            if len(self.waiting) == 1:
                self.say(f"{self.path}: {error.strerror or error}; training goes on, and its lines are written when that is possible again")

    def has_eval(self, step: int) -> bool:
        return self.path.is_file() and any(row["kind"] == "eval" and row["step"] == step for row in read_metrics(self.path))

    def rewind(self, step: int, epoch: int) -> None:
        """Drop what lies after a checkpoint at `step`, with `epoch` epochs done, so that every step stands once."""
        if self.path.is_file():
            kept = [row for row in read_metrics(self.path) if row["step"] <= step and (row["kind"] != "eval" or row["epoch"] <= epoch)]
            temporary = self.path.with_suffix(".partial")
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
            os.replace(temporary, self.path)


def _finite(value: Any) -> Any:
    """None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def check_wandb(mode: str) -> None:
    """Raise UserError where `online` lacks a key: W&B would ask for it and hang the job."""
    if mode != "online" or os.environ.get("WANDB_API_KEY"):
        return
    try:
        if netrc.netrc().authenticators("api.wandb.ai"):
            return
    except (OSError, netrc.NetrcParseError):
        pass
    raise UserError(
        "log.wandb=online: no key; set WANDB_API_KEY or run `wandb login`, or use --log.wandb=offline and `wandb sync` the run later"
    )


class WeightsAndBiases:
    """A Weights & Biases run of rank 0. Any failure of it is one warning, and training goes on."""

    def __init__(self, config: Config, folder: Path, console: Console) -> None:
        self.run: Any = None
        self.console = console
        mode = os.environ.get("WANDB_MODE", config.log.wandb) if config.log.wandb != "disabled" else "disabled"
        if mode == "disabled":
            return
        try:
            import wandb

            self.run = wandb.init(
                id=self._id_of(folder) if mode == "online" else None,
                resume="allow" if mode == "online" else None,
                project=config.log.project,
                name=folder.name,
                group=folder.name,
                dir=str(folder),
                mode=mode,  # type: ignore[arg-type]
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(silent=True, console="off", init_timeout=60),
            )
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
        if self.run is not None:
            try:
                self.run.log(values, step=step)
            except Exception as error:
                self._give_up(error)

    def finish(self, exit_code: int) -> None:
        if self.run is not None:
            try:
                self.run.finish(exit_code=exit_code)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.run = None
        reason = " ".join(str(error).split())[:160]
        self.console.say(f"Weights & Biases is off from here ({type(error).__name__}: {reason}); metrics.jsonl has everything")


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """FLOP/s of the best of four products of `size`-square matrices, with this process's threads."""
    one, other = (torch.full((size, size), 0.5, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (one @ other)[0, 0].item()  # which waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
