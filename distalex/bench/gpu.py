"""`bench gpu`: what one GPU is measured by, each part with a result of its own, and all of them in one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distalex.bench.accuracy import bench_accuracy
from distalex.bench.loader_files import PHOTOGRAPHS, check_photographs, make_photographs
from distalex.bench.lrn import bench_lrn
from distalex.bench.modes import bench_modes
from distalex.bench.options import AccuracyOptions, GpuOptions, GpuPart, LrnOptions, ModesOptions, PlainOptions
from distalex.bench.plain import bench_plain
from distalex.bench.programs import run_python
from distalex.bench.results import make_result, open_folder, spread, spread_text, write_result
from distalex.errors import UserError
from distalex.runs.metrics import read_metrics

BATCHES = 40  # of an epoch of the smallest batches: 8 GB of images
EPOCHS = 5  # the first compiles and is not counted


def bench_gpu(options: GpuOptions) -> dict[str, Any]:
    """Measure each part in turn and write OUT/gpu-TIME.json. Raises UserError without a GPU and, at the end, where a part failed."""
    if not torch.cuda.is_available():
        raise UserError("bench gpu: PyTorch sees no GPU here; check the driver with nvidia-smi")
    if options.photographs:
        check_photographs(options.photographs)
    folder = open_folder(options.out)
    found: dict[str, dict[str, Any]] = {}
    common = {"out": options.out, "root": options.root}

    def plain_rate() -> float | None:
        return found.get("plain", {}).get("plain_images_per_second", {}).get("median")

    parts: dict[GpuPart, Callable[[], dict[str, Any]]] = {
        "modes": lambda: bench_modes(ModesOptions(out=options.out, device="cuda")),
        "plain": lambda: bench_plain(PlainOptions(**common, repeats=options.repeats)),
        "cifar10_best": lambda: bench_accuracy(AccuracyOptions(**common, config="cifar10_best", repeats=options.repeats), plain_rate()),
        "cifar10_fast": lambda: bench_accuracy(AccuracyOptions(**common, repeats=options.repeats), plain_rate()),
        "paper_network": lambda: measure_network(options),
        "compiled": lambda: measure_network(options, "--train.compile=true"),
        "lrn": lambda: bench_lrn(LrnOptions(out=options.out, batch=256, device="cuda", repeats=options.repeats)),
    }
    for name in options.only or parts:
        print(f"\n== {name}", flush=True)
        started = time.perf_counter()
        try:
            found[name] = parts[name]()
        except (UserError, OSError, RuntimeError, ValueError, LookupError) as error:  # CUDA's and Triton's are RuntimeErrors
            print(f"{name} failed: {error}", flush=True)
            found[name] = {"failed": str(error)}
        found[name]["seconds_of_benchmark"] = time.perf_counter() - started
    result = make_result(options, found)
    path = write_result(result, folder)
    if failed := [name for name, part in found.items() if part.get("failed")]:
        raise UserError(f"bench gpu: {', '.join(failed)} failed; {path} says why and has the others' results")
    return result


def measure_network(options: GpuOptions, *more: str) -> dict[str, Any]:
    """Images/s of the paper's network with LRN, dropout and its augmentation, in bf16 at 224x224, on photographs stored raw in a file.

    `more` are further options of training.
    """
    batches = {}
    with tempfile.TemporaryDirectory() as place:
        count = BATCHES * min(options.batches)
        _repeat(Path(options.photographs) if options.photographs else None, Path(place), count)
        for batch in options.batches:
            batches[str(batch)] = _train(Path(place), batch, count // batch, *more)
            print(f"batch {batch}: {spread_text(batches[str(batch)]['images_per_second'], ',.0f')} images/s over whole epochs", flush=True)
    return {"photographs": "repeated" if options.photographs else "random, repeated", "images": count, "batches": batches}


def _train(place: Path, batch: int, steps: int, *more: str) -> dict[str, Any]:
    """Train for `EPOCHS` epochs of `steps` steps; images/s of each epoch but the first, and every row of metrics.jsonl."""
    words = ["--config=alexnet_paper", "--train.precision=bf16", f"--train.batch_size={batch}", f"--train.epochs={EPOCHS}"]
    words += ["--data.name=folder", f"--data.root={place / 'images'}", "--data.holdout=0", f"--train.evaluate_every={EPOCHS + 1}"]
    words += [
        "--parallel=none",
        "--log.wandb=disabled",
        "--log.report=false",
        f"--log.every={steps // 2}",
        f"--runs_dir={place}",
        f"--name={batch}",
    ]
    run_python(["-m", "distalex.train", *words, *more], {"DISTALEX_DATA": str(place / "prepared")})
    rows = [row for row in read_metrics(place / str(batch) / "metrics.jsonl") if row["kind"] == "train"]
    kept = ("step", "epoch", "images_per_second", "data_wait_fraction", "mfu")
    epochs = [[1.0 / row["images_per_second"] for row in rows if row["epoch"] == epoch] for epoch in range(2, EPOCHS + 1)]
    rates = [len(seconds) / sum(seconds) for seconds in epochs]
    return {"images_per_second": spread(rates), "rows": [{key: row[key] for key in kept} for row in rows]}


def _repeat(root: Path | None, place: Path, count: int) -> None:
    """Link `count` images into PLACE/images/CLASS: those of `root`/CLASS, or random photographs, repeated."""
    if root is None:
        root = place / "photographs"
        make_photographs(root, PHOTOGRAPHS)
    found = [path for path in root.rglob("*.*") if path.suffix.lower() in (".jpg", ".jpeg") and path.is_file()]
    listed = sorted(found, key=lambda path: path.name)
    if not listed:
        raise UserError(f"photographs={root}: no CLASS/*.jpg; give a folder with class folders of JPEG files")
    for number in range(count):
        path = listed[number % len(listed)]
        target = place / "images" / path.parent.name / f"{number:07d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.path.abspath(path))
