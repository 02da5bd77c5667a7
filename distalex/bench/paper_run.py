"""The training run of `bench parallel` and `bench hosts`: the paper's network on synthetic images, in one mode at one batch size."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distalex.runs.metrics import read_metrics

CLASSES = 1000
NAME = "bench"


def training_run(mode: str, batch: int, steps: int, precision: str, runs_dir: Path) -> list[str]:
    """Options of `train` for so many steps, each of which is logged."""
    return [
        f"--parallel={mode}",
        f"--runs_dir={runs_dir}",
        f"--name={NAME}",
        *("--data.name=synthetic", "--data.loader=synthetic", "--data.augment=none"),
        f"--data.synthetic_classes={CLASSES}",
        f"--data.synthetic_images={batch * steps}",  # one epoch: the evaluation, of a quarter as many, comes after all steps
        f"--train.batch_size={batch}",
        f"--train.eval_batch_size={min(batch, 64)}",
        f"--train.precision={precision}",
        f"--train.max_steps={steps}",
        *("--train.epochs=1", "--checkpoint.every_epochs=0", "--log.every=1", "--log.wandb=disabled", "--log.report=false"),
    ]


def steps_of(runs_dir: Path) -> list[dict[str, Any]]:
    """The steps that the run has logged so far."""
    path = runs_dir / NAME / "metrics.jsonl"
    return [row for row in read_metrics(path) if row["kind"] == "train"] if path.is_file() else []


def rates_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of rates and exposed communication over steps, and the bytes that rank 0 sends in one."""

    def median(key: str) -> float:
        return statistics.median(row[key] for row in rows)

    return {
        "images_per_second": median("images_per_second"),
        "images_per_second_of_steps": [row["images_per_second"] for row in rows],
        "data_wait_fraction": median("data_wait_fraction"),
        "comm_bytes": rows[-1]["comm_bytes"],
        "comm_bytes_by": rows[-1]["comm_bytes_by"],
        "comm_exposed_fraction": median("comm_exposed_fraction"),
        "comm_exposed_by": {
            purpose: statistics.median(row["comm_exposed_by"].get(purpose, 0.0) for row in rows) for purpose in rows[-1]["comm_exposed_by"]
        },
    }
