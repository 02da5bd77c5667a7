"""How soon a shipped configuration reaches the tutorial's accuracy, from the start of its process, against ordinary PyTorch."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from distalex.bench.options import BenchOptions
from distalex.bench.plain import cifar10, measure_peer
from distalex.bench.results import open_folder, run_program, spread, write_result
from distalex.machine.description import describe_machine
from distalex.runs.metrics import read_metrics

TUTORIAL = {"top1": 71.91, "epochs": 20, "images": 50_000}
"""What the recipe says of itself: top-1 on the test set after so many epochs."""


def bench_accuracy(options: BenchOptions, measured: float | None = None) -> dict[str, Any]:
    """Train with `repeats` seeds, each between two measurements of the peer, print a table and write OUT/accuracy-TIME.json.

    The peer's time is that of its steps alone, as measured here over some of them: nobody waits for its 20 epochs. `measured` is
    its images/s where they are known already.
    """
    root = cifar10(options)
    folder = open_folder(options.out)
    preparing = _train(options, root, 0, "--train.max_steps=1")["seconds"]
    print(f"prepared, compiled and tried in {preparing:.0f} s, which are not counted", flush=True)
    peer = partial(measure_peer, options, root) if measured is None else (lambda: measured)
    peers, runs = [peer()], []
    for seed in range(options.repeats):
        runs.append(_train(options, root, seed))
        peers.append(peer())
        print(f"seed {seed}: {runs[-1]['top1']:.2f} % after {runs[-1]['seconds']:.1f} s", flush=True)
    plain = TUTORIAL["epochs"] * TUTORIAL["images"] / statistics.median(peers)
    result = {
        "what": "accuracy",
        "command": f"python -m distalex.bench accuracy --config={options.config} --repeats={options.repeats} --steps={options.steps}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "config": options.config,
        "tutorial": TUTORIAL,
        "preparing_seconds": preparing,
        "plain_images_per_second": spread(peers),
        "plain_seconds_of_20_epochs": plain,
        "runs": runs,
        "top1": spread([run["top1"] for run in runs]),
        "top1_standard_deviation": statistics.stdev([run["top1"] for run in runs]) if len(runs) > 1 else None,
        "seconds": spread([run["seconds"] for run in runs]),
        "sooner": spread([plain / run["seconds"] for run in runs]),
    }
    print(_report(result))
    write_result(result, folder)
    return result


def _train(options: BenchOptions, root: str, seed: int, *words: str) -> dict[str, Any]:
    """One run in a process of its own, from its start to its end, evaluation and checkpoint included."""
    with tempfile.TemporaryDirectory() as folder:
        words = (f"--config={options.config}", f"--data.root={root}", f"--seed={seed}", *words)
        place = ("--parallel=none", "--log.wandb=disabled", f"--runs_dir={folder}", "--name=bench")
        started = time.perf_counter()
        run_program([sys.executable, "-m", "distalex.train", *words, *place])
        seconds = time.perf_counter() - started
        rows = [row for row in read_metrics(Path(folder) / "bench" / "metrics.jsonl") if row["kind"] == "eval"]
    return {"seed": seed, "seconds": seconds, "top1": rows[-1]["top1"], "images": rows[-1]["count"], "epochs": rows[-1]["epoch"]}


def _report(result: dict[str, Any]) -> str:
    top1, seconds, sooner = result["top1"], result["seconds"], result["sooner"]
    return (
        f"{result['config']}: {top1['median']:.2f} % ({top1['min']:.2f} to {top1['max']:.2f}) of the test images, "
        f"{seconds['median']:.1f} s ({seconds['min']:.1f} to {seconds['max']:.1f}) from the start of the process to its end\n"
        f"the tutorial's job in ordinary PyTorch: {result['plain_images_per_second']['median']:,.0f} images/s, so "
        f"{result['plain_seconds_of_20_epochs']:,.0f} s for 20 epochs and {TUTORIAL['top1']} %; "
        f"{sooner['median']:.0f} x sooner (from {sooner['min']:.0f} to {sooner['max']:.0f})"
    )
