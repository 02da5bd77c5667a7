"""`bench plain`: the tutorial's job here and in ordinary PyTorch, images/s of whole steps, loading included."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from distalex.bench.options import BenchOptions
from distalex.bench.peak import matmul_peak, median_peaks
from distalex.bench.results import open_folder, run_program, spread, write_result
from distalex.data.layouts.cifar import CIFAR10, find_cifar
from distalex.errors import UserError
from distalex.machine.description import describe_machine
from distalex.runs.metrics import read_metrics

GFLOP_PER_IMAGE = 0.87  # of a training step of the seed network at 96x96: three times its forward pass


def bench_plain(options: BenchOptions) -> dict[str, Any]:
    """Measure both sides in turn, print a table and write OUT/plain-TIME.json."""
    root = cifar10(options)
    if options.peer and not Path(options.peer).is_file():
        raise UserError(f"peer={options.peer}: no such file")
    folder = open_folder(options.out)
    ours, peers, peaks = [], [], []
    for repeat in range(options.repeats):
        peaks.append(matmul_peak())
        peers.append(measure_peer(options, root))
        ours.append(_ours(options.steps, root))
        print(
            f"repeat {repeat + 1}: plain {peers[-1]:,.0f} images/s, distalex {ours[-1]:,.0f} images/s, ratio {ours[-1] / peers[-1]:.2f}",
            flush=True,
        )
    medians = median_peaks(peaks)
    precision = "bf16" if "bf16" in medians else "fp32"  # what the job computes in here
    peak = medians[precision]
    ratio = spread([mine / peer for mine, peer in zip(ours, peers, strict=True)])
    share = statistics.median(ours) * GFLOP_PER_IMAGE / peak
    result = {
        "what": "plain",
        "command": f"python -m distalex.bench plain --repeats={options.repeats} --steps={options.steps}",
        "peer": Path(options.peer).name if options.peer else "distalex.bench.peer",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "matmul_peak_gflops": medians,
        "plain_images_per_second": spread(peers),
        "distalex_images_per_second": spread(ours),
        "ratio": ratio,
        "precision": precision,
        "share_of_peak": share,
    }
    print(
        f"distalex ÷ plain {ratio['median']:.2f} (from {ratio['min']:.2f} to {ratio['max']:.2f}); "
        f"distalex is {100 * share:.0f} % of the measured {precision} matmul peak of {peak:,.0f} GFLOP/s"
    )
    write_result(result, folder)
    return result


def cifar10(options: BenchOptions) -> str:
    """Where the images are: an archive is unpacked only where a script from elsewhere, which wants a folder, is to read it."""
    return str(find_cifar(CIFAR10, options.root, unpack=options.peer is not None))


def measure_peer(options: BenchOptions, root: str) -> float:
    """Images/s of the tutorial's job in ordinary PyTorch, in a process of its own, on a GPU where there is one."""
    program = [options.peer] if options.peer else ["-m", "distalex.bench.peer"]
    device = ["--device", "cuda"] if torch.cuda.is_available() else []
    output = run_program([sys.executable, *program, "--root", root, "--steps", str(options.steps), *device])
    return json.loads(output.strip().splitlines()[-1])["images_per_second"]


def _ours(steps: int, root: str) -> float:
    """Images/s over `steps` steps of the shipped configuration, after one step that is not counted, as for the peer."""
    with tempfile.TemporaryDirectory() as folder:
        run_program(
            [
                *(sys.executable, "-m", "distalex.train", "--config=seed_cifar10"),
                *(f"--data.root={root}", "--parallel=none"),
                f"--train.max_steps={steps + 1}",
                "--log.every=1",
                "--log.wandb=disabled",
                f"--runs_dir={folder}",
                "--name=bench",
            ]
        )
        rows = [row for row in read_metrics(Path(folder) / "bench" / "metrics.jsonl") if row["kind"] == "train"]
    return len(rows[1:]) / sum(1.0 / row["images_per_second"] for row in rows[1:])
