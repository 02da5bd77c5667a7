"""`bench accuracy`: seconds to a tutorial's accuracy, from the start of the process, against the same job in ordinary PyTorch."""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from distalex.bench.options import AccuracyOptions
from distalex.bench.plain import find_cifar10, measure_plain
from distalex.bench.programs import run_python
from distalex.bench.results import make_result, open_folder, spread, spread_text, write_result
from distalex.machine.resources import cores
from distalex.runs.metrics import read_metrics

TUTORIAL = {"top1": 71.91, "epochs": 20, "images": 50_000}
"""The tutorial's own claim: top-1 in percent on the test set after so many epochs of so many images."""


def bench_accuracy(options: AccuracyOptions, plain_rate: float | None = None) -> dict[str, Any]:
    """Train `repeats` seeds, each between two measurements of ordinary PyTorch, print a table and write OUT/accuracy-TIME.json.

    The time of its 20 epochs is computed from the rate of a few steps. `plain_rate` is that rate in images/s, where it has been
    measured before.
    """
    root = find_cifar10(options.root, options.peer)
    folder = open_folder(options.out)
    preparing = _train(options.config, root, 0, "--train.max_steps=1")["seconds"]
    print(f"prepared, compiled and tried in {preparing:.0f} s, which are not counted", flush=True)
    measure = partial(measure_plain, root, options.steps, options.peer) if plain_rate is None else (lambda: plain_rate)
    rates, runs = [measure()], []
    for seed in range(options.repeats):
        runs.append(_train(options.config, root, seed))
        rates.append(measure())
        print(f"seed {seed}: {runs[-1]['top1']:.2f} % after {runs[-1]['seconds']:.1f} s", flush=True)
    plain_seconds = TUTORIAL["epochs"] * TUTORIAL["images"] / statistics.median(rates)
    is_reached = statistics.median(run["top1"] for run in runs) >= TUTORIAL["top1"]
    result = make_result(
        options,
        {
            "config": options.config,
            "tutorial": TUTORIAL,
            "preparing_seconds": preparing,
            "threads": cores(),
            "plain_images_per_second": spread(rates),
            "plain_seconds_of_20_epochs": plain_seconds,
            "runs": runs,
            "top1": spread([run["top1"] for run in runs]),
            "top1_standard_deviation": statistics.stdev([run["top1"] for run in runs]) if len(runs) > 1 else None,
            "seconds": spread([run["seconds"] for run in runs]),
            "parts": {part: statistics.median(run["parts"][part] for run in runs) for part in runs[0]["parts"]},
            "sooner": spread([plain_seconds / run["seconds"] for run in runs]) if is_reached else None,
        },
    )
    print(_report(result))
    write_result(result, folder)
    return result


def _train(config: str, root: str, seed: int, *options: str) -> dict[str, Any]:
    """One run in a process of its own: its seconds from start to end, evaluation and checkpoint included, its last evaluation, and the mean
    top-1 of training images in its last epoch.

    `parts` are its seconds before the first step, in steps, and after the last one.
    """
    with tempfile.TemporaryDirectory() as folder:
        chosen = (f"--config={config}", f"--data.root={root}", f"--seed={seed}", *options)
        started = time.time()  # the clock of the rows
        run_python(
            [
                "-m",
                "distalex.train",
                *chosen,
                "--parallel=none",
                "--log.wandb=disabled",
                "--log.report=false",
                f"--runs_dir={folder}",
                "--name=bench",
            ]
        )
        ended = time.time()
        rows = read_metrics(Path(folder) / "bench" / "metrics.jsonl")
    last, trained, steps = ([row for row in rows if row["kind"] == kind] for kind in ("eval", "epoch", "train"))
    first = steps[0]["time"] - steps[0]["step"] * steps[0]["images"] / steps[0]["images_per_second"]
    parts = {"before the first step": first - started, "in steps": steps[-1]["time"] - first, "after the last": ended - steps[-1]["time"]}
    found = {"seed": seed, "seconds": ended - started, "parts": parts, "top1": last[-1]["top1"]}
    return {**found, "train_top1": trained[-1]["top1"] if trained else None, "images": last[-1]["count"], "epochs": last[-1]["epoch"]}


def _report(result: dict[str, Any]) -> str:
    sooner = result["sooner"]
    compared = f"distalex is {spread_text(sooner, ',.1f')} times as fast" if sooner else "which this does not reach: no times are compared"
    return (
        f"{result['config']}: {spread_text(result['top1'])} % of the test images, "
        f"{spread_text(result['seconds'], '.1f')} s from the start of the process to its end, of which "
        f"{', '.join(f'{seconds:.1f} {part}' for part, seconds in result['parts'].items())}\n"
        f"the tutorial's job in ordinary PyTorch: {result['plain_images_per_second']['median']:,.0f} images/s, so "
        f"{result['plain_seconds_of_20_epochs']:,.0f} s for 20 epochs and {TUTORIAL['top1']} %; " + compared
    )
