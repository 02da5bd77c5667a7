"""`bench parallel`: the paper's network under every --parallel in turn, images/s of whole training steps, loading included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distalex.bench.options import ParallelOptions
from distalex.bench.paper_run import CLASSES, rates_of, steps_of, training_run
from distalex.bench.parallel_report import heading, progress, report
from distalex.bench.parallel_summary import find_crossing, summarize_batch
from distalex.bench.peaks import measure_peaks, median_peaks
from distalex.bench.programs import run_python
from distalex.bench.results import make_result, open_folder, write_result
from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.config.loading import load_config
from distalex.config.own_network import is_own
from distalex.errors import UserError
from distalex.kernels.available import has_triton
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores
from distalex.model.own import build_own
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology, layout

WARM_UP = 2  # untimed steps: the first allocates and compiles, in the second the allocator settles


def bench_parallel(options: ParallelOptions) -> dict[str, Any]:
    """Measure every mode at every batch in turn, print tables, write OUT/parallel-TIME.json and a figure beside it.

    A run that fails is listed under `failed`, and the others are still measured. Raises UserError before anything starts.
    """
    if not is_own(options.network) and options.network != "paper":
        raise UserError(f"network={options.network}: must be paper, FILE.py:FUNCTION or torchvision:NAME")
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
    chosen, kind = {}, kind_of(options)
    for mode in options.modes or tuple(declared_in(MODES)):
        least = declared_in(MODES)[mode].facts["LEAST"]
        count = 1 if least == 1 else max(least, options.processes)
        try:
            _check_mode(mode, count, options, kind)
        except UserError as error:
            if options.modes:
                raise
            print(f"without {mode}: {error}")
        else:
            chosen[mode] = count
    return chosen


class Kind(NamedTuple):
    """What the modes ask of a network."""

    columns: int
    cuts: bool
    """Whether One Weird Trick can cut it before its fully connected layers."""


def kind_of(options: ParallelOptions) -> Kind:
    """The network's columns, and whether it can be cut. Raises UserError where one's own cannot be built."""
    if options.network == "paper":
        return Kind(2, True)
    config = load_config(None, {"model.name": options.network, "data.image_size": options.image_size})
    net = build_own(config.model, CLASSES, options.image_size, 0)
    return Kind(net.columns, net.cuts)


def _check_mode(mode: str, processes: int, options: ParallelOptions, kind: Kind) -> None:
    """Raise UserError where the mode cannot have so many processes, the network not the mode, or this machine cannot run them."""
    if mode == "owt" and not kind.cuts:
        raise UserError(f"modes={mode}: {options.network} has no methods convolve and classify; leave it out")
    if not _divides(mode, processes, kind.columns):
        possible = [count for count in range(2, 65) if _divides(mode, count, kind.columns)]
        if not possible:
            raise UserError(f"modes={mode}: {options.network} has no columns; leave it out")
        nearest = min(possible, key=lambda count: (abs(count - processes), -count))
        raise UserError(
            f"modes={mode}: {processes} processes cannot divide the network's {kind.columns} columns among them; use --processes={nearest}"
        )
    device = choose_device(options.device, Topology(0, processes, 0, processes))
    if processes > options.processes and not options.modes and device.type == "cpu" and cores() < processes:
        raise UserError(f"its {processes} processes share {cores()} cores here; use --modes={mode} to run it all the same")


def _divides(mode: str, processes: int, columns: int) -> bool:
    try:
        layout(mode, processes, columns)
    except UserError:
        return False
    return True


def lrn_implementation(lrn: bool, device: torch.device) -> str:
    """What computes local response normalisation on `device`, in words."""
    if not lrn:
        return "off"
    return "Numba kernel" if device.type == "cpu" else "Triton kernel" if has_triton(device) else "banded convolution"


def measure_mode(options: ParallelOptions, mode: str, processes: int, batch: int) -> dict[str, Any]:
    """One training run: rates and bytes sent of its timed steps on rank 0, or its error."""
    threads = max(1, cores() // processes)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=localhost", f"--nproc_per_node={processes}"]
    launcher = torchrun if processes > 1 else []
    network = f"--model.lrn={options.lrn}" if options.network == "paper" else f"--model.name={options.network}"
    arguments = [f"--device={options.device}", network, f"--data.image_size={options.image_size}"]
    with tempfile.TemporaryDirectory() as folder:
        run = training_run(mode, batch, WARM_UP + options.steps, options.precision, Path(folder))
        try:
            run_python([*launcher, "-m", "distalex.train", *run, *arguments], {"OMP_NUM_THREADS": str(threads)})
        except UserError as error:
            return {"processes": processes, "threads": threads, "error": str(error)}
        rows = steps_of(Path(folder))[WARM_UP:]
    return {"processes": processes, "threads": threads, **rates_of(rows)}
