"""`bench parallel`: the paper's network under every --parallel in turn, images/s of whole training steps, loading included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from distalex.bench.network_modes import Network, inspect_network, possible_processes
from distalex.bench.options import ParallelOptions
from distalex.bench.paper_run import CLASSES, rates_of, steps_of, training_run
from distalex.bench.parallel_report import heading, progress, report
from distalex.bench.parallel_summary import find_crossing, summarize_batch
from distalex.bench.peaks import measure_peaks, median_peaks
from distalex.bench.programs import run_python, torchrun
from distalex.bench.results import make_result, open_folder, write_result
from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.errors import UserError
from distalex.kernels.available import has_triton
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology

WARM_UP = 2  # untimed steps: the first allocates and compiles, in the second the allocator settles


def bench_parallel(options: ParallelOptions) -> dict[str, Any]:
    """Measure every mode at every batch in turn, print tables, write OUT/parallel-TIME.json and a figure beside it.

    A run that fails is listed under `failed`, and the others are still measured. Raises UserError before anything starts.
    """
    processes = choose_modes(options)
    device = choose_device(options.device, Topology())
    precision = options.precision if has_bf16(device) else "fp32"  # what the network computes in
    options = options.model_copy(update={"modes": tuple(processes), "batches": tuple(sorted(set(options.batches))), "precision": precision})
    lrn = lrn_implementation(options.lrn, device) if options.network == "paper" else "as it is"
    folder = open_folder(options.out)
    print(heading(options, processes, device.type, lrn, WARM_UP, CLASSES), flush=True)
    peaks, runs = [], []
    for repeat in range(options.repeats):
        peaks.append(measure_peaks())
        for batch in options.batches:
            for mode in options.modes[:: 1 if repeat % 2 == 0 else -1]:  # there and back, so that a drift favours none
                run = measure_mode(options, mode, processes[mode], batch)
                runs.append({"repeat": repeat + 1, "batch": batch, "parallel": mode, **run})
                print(progress(runs[-1]), flush=True)
    done = [run for run in runs if "error" not in run]
    result = make_result(
        options,
        {
            "matmul_peak_gflops": median_peaks(peaks),
            "device": device.type,
            "network": f"{options.network}, {options.image_size}x{options.image_size}, {CLASSES} classes, {precision}",
            "lrn": lrn,
            "processes": processes,
            "batches": [summarize_batch(done, batch) for batch in options.batches],
            "crossing": find_crossing(done, precision),
            "failed": [run for run in runs if "error" in run],
            "runs": done,
        },
    )
    print(report(result))
    path = write_result(result, folder)
    if done:
        from distalex.bench.parallel_figure import draw_parallel

        draw_parallel(result, path.with_suffix(".png"))
    return result


def choose_modes(options: ParallelOptions) -> dict[str, int]:
    """The modes to measure, with the number of processes of each. Raises UserError where one that was named cannot run here."""
    chosen, network = {}, inspect_network(options.network, CLASSES, options.image_size)
    for mode in options.modes or tuple(declared_in(MODES)):
        least = declared_in(MODES)[mode].facts["LEAST"]
        count = 1 if least == 1 else max(least, options.processes)
        try:
            _check_mode(mode, count, options, network)
        except UserError as error:
            if options.modes:
                raise
            print(f"without {mode}: {error}")
        else:
            chosen[mode] = count
    return chosen


def _check_mode(mode: str, processes: int, options: ParallelOptions, network: Network) -> None:
    """Raise UserError where the mode cannot have so many processes, the network not the mode, or this machine cannot run them."""
    if processes == 1:
        return
    possible = possible_processes(mode, network)
    if processes not in possible:
        nearest = min(possible, key=lambda count: (abs(count - processes), -count))
        raise UserError(
            f"modes={mode}: {processes} processes cannot divide the network's {network.columns} columns among them; "
            f"use --processes={nearest}"
        )
    device = choose_device(options.device, Topology(0, processes, 0, processes))
    if processes > options.processes and not options.modes and device.type == "cpu" and cores() < processes:
        raise UserError(f"its {processes} processes share {cores()} cores here; use --modes={mode} to run it all the same")


def lrn_implementation(lrn: bool, device: torch.device) -> str:
    """What computes local response normalisation on `device`, in words."""
    if not lrn:
        return "off"
    return "Numba kernel" if device.type == "cpu" else "Triton kernel" if has_triton(device) else "banded convolution"


def measure_mode(options: ParallelOptions, mode: str, processes: int, batch: int) -> dict[str, Any]:
    """One training run: rates and bytes sent of its timed steps on rank 0, or its error."""
    threads = max(1, cores() // processes)
    network = f"--model.lrn={options.lrn}" if options.network == "paper" else f"--model.name={options.network}"
    arguments = [f"--device={options.device}", network, f"--data.image_size={options.image_size}"]
    with tempfile.TemporaryDirectory() as folder:
        run = training_run(mode, batch, WARM_UP + options.steps, options.precision, Path(folder))
        try:
            run_python([*torchrun(processes, folder), "-m", "distalex.train", *run, *arguments], {"OMP_NUM_THREADS": str(threads)})
        except UserError as error:
            return {"processes": processes, "threads": threads, "error": str(error)}
        rows = steps_of(Path(folder))[WARM_UP:]
    return {"processes": processes, "threads": threads, **rates_of(rows)}
