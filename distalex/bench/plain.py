"""`bench plain`: a tutorial's job in distalex and in ordinary PyTorch, images/s of whole training steps, loading included."""

from __future__ import annotations

import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from distalex.bench.options import PlainOptions
from distalex.bench.peaks import measure_peaks, median_peaks
from distalex.bench.programs import read_json, run_python
from distalex.bench.results import make_result, open_folder, spread, spread_text, write_result
from distalex.data.layouts.cifar import CIFAR10, find_cifar
from distalex.errors import UserError
from distalex.machine.resources import cores
from distalex.runs.metrics import read_metrics

GFLOP_PER_IMAGE = 0.87  # of a training step of the seed network at 96x96: three times its forward pass


def bench_plain(options: PlainOptions) -> dict[str, Any]:
    """Measure both in turn, print the ratio and write OUT/plain-TIME.json."""
    root = find_cifar10(options.root, options.peer)
    folder = open_folder(options.out)
    ours, plain, peaks = [], [], []
    for repeat in range(options.repeats):
        peaks.append(measure_peaks())
        plain.append(measure_plain(root, options.steps, options.peer))
        ours.append(_measure_ours(root, options.steps))
        rates = f"plain {plain[-1]:,.0f} images/s, distalex {ours[-1]:,.0f} images/s, ratio {ours[-1] / plain[-1]:.2f}"
        print(f"repeat {repeat + 1}: {rates}", flush=True)
    medians = median_peaks(peaks)
    precision = "bf16" if "bf16" in medians else "fp32"  # of the job on this machine
    share = statistics.median(ours) * GFLOP_PER_IMAGE / medians[precision]
    result = make_result(
        options,
        {
            "peer": Path(options.peer).name if options.peer else "distalex.bench.peer",
            "threads": cores(),
            "matmul_peak_gflops": medians,
            "plain_images_per_second": spread(plain),
            "distalex_images_per_second": spread(ours),
            "ratio": spread([rate / other for rate, other in zip(ours, plain, strict=True)]),
            "precision": precision,
            "share_of_peak": share,
        },
    )
    print(
        f"distalex ÷ plain {spread_text(result['ratio'])}; "
        f"distalex reaches {100 * share:.0f} % of the measured {precision} matmul peak of {medians[precision]:,.0f} GFLOP/s"
    )
    write_result(result, folder)
    return result


def find_cifar10(root: str | None, peer: str | None) -> str:
    """The folder or archive of CIFAR-10. An archive is unpacked only for a script `peer`, which reads a folder.

    Raises UserError where there is none, or no such script.
    """
    if peer and not Path(peer).is_file():
        raise UserError(f"peer={peer}: no such file; give the path of a script")
    return str(find_cifar(CIFAR10, root, unpack=peer is not None, option="root"))


def measure_plain(root: str, steps: int, peer: str | None) -> float:
    """Images/s of the tutorial's job in ordinary PyTorch over `steps` steps, in a new process, on a GPU where there is one.

    It has a thread for each core, as distalex has, whatever OMP_NUM_THREADS says. Raises UserError where it fails or prints no rate.
    """
    program = [peer] if peer else ["-m", "distalex.bench.peer"]
    device = ["--device", "cuda"] if torch.cuda.is_available() else []
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cores()))
    found = read_json([*program, "--root", root, "--steps", str(steps), *device], threads)
    rate = found.get("images_per_second") if isinstance(found, dict) else None
    if not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        raise UserError(f"{program[-1]}: its last line must be JSON with a positive images_per_second, and it printed {str(found)[:200]}")
    return rate


def _measure_ours(root: str, steps: int) -> float:
    """Images/s over `steps` steps of the shipped config, after one untimed step, as for ordinary PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        config = ["--config=seed_cifar10", f"--data.root={root}", "--parallel=none", f"--train.max_steps={steps + 1}", "--log.every=1"]
        run_python(["-m", "distalex.train", *config, "--log.wandb=disabled", "--log.report=false", f"--runs_dir={folder}", "--name=bench"])
        rows = [row for row in read_metrics(Path(folder) / "bench" / "metrics.jsonl") if row["kind"] == "train"]
    return len(rows[1:]) / sum(1.0 / row["images_per_second"] for row in rows[1:])
