"""`bench paper`: the paper's claims on CIFAR-10, each as a change to one baseline, over seeds; Figure 1 and Figure 3 over training."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalex.bench.options import PaperOptions
from distalex.bench.paper_claims import BASELINE, CLAIMS, FIGURE1, MARKS, direction
from distalex.bench.paper_figure import draw_paper
from distalex.bench.plain import find_cifar10
from distalex.bench.programs import run_python
from distalex.bench.results import make_result, open_folder, write_result
from distalex.config.loading import load_config
from distalex.console import aligned, counted
from distalex.errors import UserError
from distalex.machine.resources import cores
from distalex.report.learned import colour_of
from distalex.runs.checkpoint import load
from distalex.runs.metrics import read_metrics

RUNS = "paper-runs"
"""Folder of the runs in OUT."""


def bench_paper(options: PaperOptions) -> dict[str, Any]:
    """Train every config with every seed, print a table and write OUT/paper-TIME.json with a figure beside it.

    Runs stay in OUT/paper-runs: a benchmark that was interrupted goes on where it was. Raises UserError where a run fails.
    """
    root, folder, started = find_cifar10(options.root, None), open_folder(options.out), time.perf_counter()
    changed: Sequence[str] = options.only or [*CLAIMS, *FIGURE1.values()]
    names = [BASELINE, *changed]
    jobs = [(name, seed) for seed in range(options.repeats) for name in names]
    at_once = options.jobs or (1 if torch.cuda.is_available() else cores())
    regime = {"data.fraction": options.fraction, "train.epochs": options.epochs, "train.evaluate_every": options.epochs}
    measure = partial(_measure, root, folder, {name: value for name, value in regime.items() if value}, max(1, cores() // at_once))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    begun = 0
    with ThreadPoolExecutor(at_once) as pool:
        for (name, _), found in zip(jobs, pool.map(lambda job: measure(*job), jobs), strict=True):
            begun += found.pop("was_begun_before")
            runs[name].append(found)
            top1 = f"{found['top1']:.2f} % of the test images, {found['train_top1']:.1f} % of the training images"
            print(f"{name}, seed {found['seed']}: {top1}", flush=True)
    result = make_result(
        options,
        {
            "seconds": time.perf_counter() - started,
            "runs_begun_before": begun,
            "at_once": at_once,
            "runs": runs,
            "ablations": {name: compare_runs(runs[BASELINE], runs[name]) for name in CLAIMS if name in runs},
            "ten_views": paired([run["ten_views"]["top1"] - run["top1"] for run in runs[BASELINE]]),
            "figure1": {kind: [first_epochs(run["train_curve"]) for run in runs[name]] for kind, name in FIGURE1.items() if name in runs},
        },
    )
    print(_report(result))
    draw_paper(result, write_result(result, folder).with_suffix(".png"))
    return result


def _measure(root: str, folder: Path, regime: dict[str, Any], threads: int, name: str, seed: int) -> dict[str, Any]:
    """Train one config with one seed, or take its finished run, and evaluate it on test and training images."""
    runs_dir, run = folder / RUNS, "-".join([name, *(f"{value:g}" for value in regime.values()), str(seed)])
    place = runs_dir / run
    options = [f"--config=paper/{name}", f"--seed={seed}", f"--data.root={root}", "--parallel=none", f"--train.threads={threads}"]
    options += [f"--{option}={value}" for option, value in regime.items()]
    options += [f"--runs_dir={runs_dir}", f"--name={run}", "--checkpoint.resume=auto", "--log.wandb=disabled", "--log.report=false"]
    options += [f"--checkpoint.keep={load_config(f'paper/{name}', regime).train.epochs}"] if name == BASELINE else []
    alone, is_resumed = {"OMP_NUM_THREADS": str(threads)}, place.exists()
    try:
        run_python(["-m", "distalex.train", *options], alone)
    except UserError as error:
        raise UserError(f"{error}; to start anew, give another --out, or delete {place}" if is_resumed else str(error)) from None
    evaluate = ["-m", "distalex.evaluate", run, f"--runs_dir={runs_dir}", "--parallel=none"]
    run_python([*evaluate, "--split=train"], alone)
    rows = read_metrics(place / "metrics.jsonl")
    last, on_training = [row for row in rows if row["kind"] == "eval"][-1], json.loads((place / "evaluation-train.json").read_text())
    found = {
        "seed": seed,
        **{key: last[key] for key in ("top1", "top5", "loss")},
        "train_top1": on_training["top1"],
        "train_loss": on_training["loss"],
        "train_curve": [round(row["top1"], 2) for row in rows if row["kind"] == "epoch"],
        "was_begun_before": is_resumed,
    }
    if name == BASELINE:
        run_python([*evaluate, "--ten_crop"], alone)
        ten = json.loads((place / "evaluation.json").read_text())
        found["ten_views"] = {key: ten[key] for key in ("top1", "loss")}
        found["colour"] = colour_over_training(place)
    return found


def colour_over_training(place: Path) -> dict[str, Any]:
    """The share of the first filters' energy that is colour in each column, after each epoch that the run at `place` kept a checkpoint of.

    `halves` is the standard deviation of the difference that random halves of the last epoch's filters would have.
    """
    by_epoch = {}
    for path in sorted((place / "checkpoints").glob("step-*.pt")):
        state = load(path)
        shares, columns = colour_of(state["model"]["conv1.weight"]), state["config"]["model"]["columns"]
        by_epoch[state["progress"]["epoch"]] = [round(float(part.mean()), 4) for part in shares.chunk(columns)]
    return {"by_epoch": by_epoch, "halves": deviation_of_halves(shares)}


def deviation_of_halves(shares: Tensor) -> float:
    """Standard deviation of the difference between the means of two halves of `shares` (n,), over all ways to halve them."""
    return 2.0 * float(shares.std()) / math.sqrt(len(shares))


def paired(differences: Sequence[float]) -> dict[str, Any]:
    """Differences between runs of the same seeds, their mean and its standard error."""
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None
    return {"differences": list(differences), "mean": statistics.mean(differences), "error": error}


def compare_runs(baseline: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Points of top-1 that the change brings on test and on training images, and of loss, by seed."""
    pairs = list(zip(baseline, changed, strict=True))
    return {kind: paired([other[kind] - one[kind] for one, other in pairs]) for kind in ("top1", "train_top1", "loss")}


def first_epochs(curve: Sequence[float]) -> dict[str, int | None]:
    """The first epoch, from 1, whose training top-1 reached each mark; None where none did."""
    return {str(mark): next((epoch for epoch, top1 in enumerate(curve, 1) if top1 >= mark), None) for mark in MARKS}


def _report(result: dict[str, Any]) -> str:
    head = ("change", "section", "the paper", "points", "error", "direction", "on training images")
    rows = []
    for name, found in result["ablations"].items():
        claim = CLAIMS[name]
        test, train = (found[kind] for kind in ("top1", "train_top1"))
        error = "" if test["error"] is None else f"{test['error']:.2f}"
        rows.append((name, claim.section, claim.paper, f"{test['mean']:+.2f}", error, direction(test, claim.sign), f"{train['mean']:+.2f}"))
    figure1 = "; ".join(f"{kind} {[run[str(MARKS[-1])] for run in runs]}" for kind, runs in result["figure1"].items())
    views = result["ten_views"]
    begun = result["runs_begun_before"]
    earlier = f", {counted(begun, 'run')} begun before" if begun else ""
    return (
        f"{aligned([head, *rows])}\nepochs to {100 - MARKS[-1]} % training error, by seed: {figure1 or 'not tried'}\n"
        f"ten views against one: {views['mean']:+.2f} points; {result['seconds'] / 60:.0f} min{earlier}"
    )
