"""`bench parallel`: the paper's network under every --parallel side by side, images/s of whole steps, loading included."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distalex.bench.crossing import PAPER_CROSSING, Line, bytes_crossing, fit_line, lines_crossing, measured_crossing
from distalex.bench.options import BenchOptions
from distalex.bench.peak import matmul_peak, median_peaks
from distalex.bench.results import open_folder, run_program, spread, write_result
from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.console import aligned
from distalex.errors import UserError
from distalex.machine.description import describe_machine
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology, layout
from distalex.runs.metrics import read_metrics

COLUMNS = 2  # of the paper's network
WARM_UP = 2  # steps: the first allocates and compiles, in the second the allocator settles
CLASSES = 1000


def bench_parallel(options: BenchOptions) -> dict[str, Any]:
    """Measure every mode at every batch in turn, print tables, write OUT/parallel-TIME.json and an image beside it.

    A run that fails is listed under `failed`, and the others go on. Raises UserError before anything starts.
    """
    processes = choose_modes(options)
    chosen = choose_device(options.device, Topology())
    device = chosen.type
    if options.precision == "bf16" and not has_bf16(chosen):
        options = options.model_copy(update={"precision": "fp32"})  # which it would be computed in
    folder = open_folder(options.out)
    batches = sorted(set(options.batches))
    print(_heading(options, processes, device), flush=True)
    peaks, runs = [], []
    for repeat in range(options.repeats):
        peaks.append(matmul_peak())
        for batch in batches:
            order = list(processes)[:: 1 if repeat % 2 == 0 else -1]  # there and back, so that a drift favours none
            for mode in order:
                runs.append({"repeat": repeat + 1, "batch": batch, "parallel": mode, **measure(options, mode, processes[mode], batch)})
                print(_progress(runs[-1]), flush=True)
    done = [run for run in runs if "error" not in run]
    result = {
        "what": "parallel",
        "command": _command(options, processes, batches),
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "matmul_peak_gflops": median_peaks(peaks),
        "device": device,
        "network": f"paper, {options.image_size}x{options.image_size}, {CLASSES} classes, {options.precision}",
        "lrn": lrn_implementation(options.lrn, device),
        "processes": processes,
        "batches": [summary(done, batch) for batch in batches],
        "crossing": crossing(done, options.precision),
        "failed": [run for run in runs if "error" in run],
        "runs": done,
    }
    print(report(result))
    path = write_result(result, folder)
    if done:
        from distalex.bench.draw import draw_parallel

        draw_parallel(result, path.with_suffix(".png"))
    return result


def choose_modes(options: BenchOptions) -> dict[str, int]:
    """The modes to measure and the processes of each. Raises UserError where one that was named cannot run here."""
    chosen = {}
    for mode in options.modes or tuple(declared_in(MODES)):
        least = declared_in(MODES)[mode].facts["LEAST"]
        count = 1 if least == 1 else max(least, options.processes)
        try:
            _check_mode(mode, count, options)
        except UserError as error:
            if options.modes:
                raise
            print(f"without {mode}: {error}")
        else:
            chosen[mode] = count
    return chosen


def _check_mode(mode: str, processes: int, options: BenchOptions) -> None:
    """Raise UserError where the mode does not go with so many processes, or they do not go with this machine."""
    if not _divides(mode, processes):
        possible = [count for count in range(2, 65) if _divides(mode, count)]
        nearest = min(possible, key=lambda count: (abs(count - processes), -count))
        raise UserError(
            f"modes={mode}: {processes} processes cannot divide the network's {COLUMNS} columns among them; use --processes={nearest}"
        )
    device = choose_device(options.device, Topology(0, processes, 0, processes))
    if processes > options.processes and not options.modes and device.type == "cpu" and cores() < processes:
        raise UserError(f"its {processes} processes have {cores()} cores here; --modes={mode} runs it all the same")


def _divides(mode: str, processes: int) -> bool:
    try:
        layout(mode, processes, COLUMNS)
    except UserError:
        return False
    return True


def lrn_implementation(lrn: bool, device: str) -> str:
    if not lrn:
        return "off"
    return "lrn_cpu (Numba)" if device == "cpu" else "banded convolution"


def measure(options: BenchOptions, mode: str, processes: int, batch: int) -> dict[str, Any]:
    """One training run: rates and traffic of its timed steps on rank 0, or the error that ended it."""
    threads = max(1, cores() // processes)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    steps = WARM_UP + options.steps
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            f"--parallel={mode}",
            f"--device={options.device}",
            f"--runs_dir={folder}",
            "--name=bench",
            f"--model.lrn={options.lrn}",
            *("--data.name=synthetic", "--data.loader=synthetic", "--data.augment=none"),
            f"--data.image_size={options.image_size}",
            f"--data.synthetic_classes={CLASSES}",
            f"--data.synthetic_images={batch * steps}",  # one epoch: the evaluation, of a quarter as many, comes after all steps
            f"--train.batch_size={batch}",
            f"--train.eval_batch_size={min(batch, 64)}",
            f"--train.precision={options.precision}",
            f"--train.max_steps={steps}",
            *("--train.epochs=1", "--checkpoint.every_epochs=0", "--log.every=1", "--log.wandb=disabled"),
        ]
        try:
            run_program([sys.executable, *launcher, "-m", "distalex.train", *arguments], {"OMP_NUM_THREADS": str(threads)})
        except UserError as error:
            return {"processes": processes, "threads": threads, "error": str(error)}
        rows = [row for row in read_metrics(Path(folder) / "bench" / "metrics.jsonl") if row["kind"] == "train"][WARM_UP:]

    def median(key: str) -> float:
        return statistics.median(row[key] for row in rows)

    return {
        "processes": processes,
        "threads": threads,
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


def summary(runs: Sequence[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Medians and spread of one batch by mode, and what columns gain, compared within each repeat."""
    of_batch = [run for run in runs if run["batch"] == batch]
    modes = {}
    for mode in dict.fromkeys(run["parallel"] for run in of_batch):
        own = [run for run in of_batch if run["parallel"] == mode]
        modes[mode] = {
            "images_per_second": spread([run["images_per_second"] for run in own]),
            "comm_bytes": own[0]["comm_bytes"],
            "comm_exposed_fraction": statistics.median(run["comm_exposed_fraction"] for run in own),
            "data_wait_fraction": statistics.median(run["data_wait_fraction"] for run in own),
        }
    rates = {(run["parallel"], run["repeat"]): run["images_per_second"] for run in of_batch}
    ratios = {}
    for other in ("data", "none"):
        pairs = [rates["model", repeat] / rate for (mode, repeat), rate in rates.items() if mode == other and ("model", repeat) in rates]
        ratios[f"columns_to_{other}"] = spread(pairs) if pairs else None
    return {"batch": batch, "modes": modes, **ratios}


def crossing(runs: Sequence[dict[str, Any]], precision: str) -> dict[str, Any] | None:
    """Where data parallelism overtakes columns, by bytes and as measured; None where one of the two did not run."""
    data, columns = ([run for run in runs if run["parallel"] == mode] for mode in ("data", "model"))
    ratios = {batch: summary(runs, batch)["columns_to_data"] for batch in sorted({run["batch"] for run in runs})}
    ratios = {batch: ratio for batch, ratio in ratios.items() if ratio}
    if not ratios:
        return None
    gradients = data[0]["comm_bytes"]
    a_image = columns[0]["comm_bytes"] / columns[0]["batch"]
    equal = bytes_crossing(gradients, a_image)
    lines = {"data": _line(data), "model": _line(columns)}
    found = {kind: measured_crossing({batch: ratio[kind] for batch, ratio in ratios.items()}) for kind in ("median", "min", "max")}
    return {
        "gradient_bytes_a_step": gradients,
        "column_bytes_a_image": a_image,
        "bytes_are_equal_at": equal,
        "bytes_are_equal_in_fp32_at": equal if precision == "fp32" else equal / 2,  # gradients stay fp32
        "measured": {kind: one._asdict() for kind, one in found.items()},
        "step_seconds": {mode: line._asdict() if line else None for mode, line in lines.items()},
        "lines_cross_at": lines_crossing(lines["data"], lines["model"]) if lines["data"] and lines["model"] else None,
    }


def _line(runs: Sequence[dict[str, Any]]) -> Line | None:
    """Through the median step time of every batch."""
    return fit_line(
        {
            batch: statistics.median(batch / run["images_per_second"] for run in runs if run["batch"] == batch)
            for batch in sorted({run["batch"] for run in runs})
        }
    )


def _command(options: BenchOptions, processes: dict[str, int], batches: Sequence[int]) -> str:
    """With everything that was measured spelled out, so that it means the same when defaults change."""
    values = {
        "batches": ",".join(map(str, batches)),
        "modes": ",".join(processes),
        **{name: getattr(options, name) for name in ("processes", "precision", "image_size")},
        "lrn": str(options.lrn).lower(),
        **{name: getattr(options, name) for name in ("device", "repeats", "steps")},
    }
    return " ".join(["python -m distalex.bench parallel", *(f"--{name}={value}" for name, value in values.items())])


def _heading(options: BenchOptions, processes: dict[str, int], device: str) -> str:
    shares = ", ".join(f"{mode} {count} x {max(1, cores() // count)}" for mode, count in processes.items())
    crowded = [mode for mode, count in processes.items() if device == "cpu" and count > cores()]
    return (
        f"paper network at {options.image_size}x{options.image_size}, {CLASSES} classes, {options.precision}, on {device}; "
        f"LRN: {lrn_implementation(options.lrn, device)}; {options.repeats} repeats of {options.steps} steps after {WARM_UP}\n"
        f"processes x threads: {shares}" + f"; more processes than the {cores()} cores: {', '.join(crowded)}" * bool(crowded)
    )


def _progress(run: dict[str, Any]) -> str:
    start = f"repeat {run['repeat']}  batch {run['batch']:>4}  {run['parallel']:<6}"
    if "error" in run:
        return f"{start}  failed: {run['error']}"
    return (
        f"{start}  {run['images_per_second']:>8,.1f} images/s  sent {run['comm_bytes'] / 1e6:>6,.1f} MB  "
        f"exposed {100 * run['comm_exposed_fraction']:>2.0f} %  data wait {100 * run['data_wait_fraction']:>2.0f} %"
    )


def report(result: dict[str, Any]) -> str:
    """Tables and sentences of a result."""
    rows = [["parallel", "batch", "images/s", "from", "to", "sent MB", "exposed", "data wait"]]
    ratios = [["batch", "columns ÷ data", "from", "to", "columns ÷ none", "from", "to"]]
    for one in result["batches"]:
        for mode in result["processes"]:
            if mode in one["modes"]:
                numbers = one["modes"][mode]
                rate = numbers["images_per_second"]
                rows.append(
                    [mode, str(one["batch"]), *(f"{rate[kind]:,.1f}" for kind in ("median", "min", "max"))]
                    + [f"{numbers['comm_bytes'] / 1e6:,.1f}"]
                    + [f"{100 * numbers[key]:.1f} %" for key in ("comm_exposed_fraction", "data_wait_fraction")]
                )
        pairs = (one["columns_to_data"], one["columns_to_none"])
        cells = [f"{pair[kind]:.2f}" if pair else "-" for pair in pairs for kind in ("median", "min", "max")]
        ratios.append([str(one["batch"]), *cells])
    parts = [aligned(rows)]
    if any(one["columns_to_data"] or one["columns_to_none"] for one in result["batches"]):
        parts.append(aligned(ratios))
    if result["crossing"]:
        parts.append(_explain(result))
    if result["failed"]:
        parts.append(f"failed: {len(result['failed'])} of {len(result['failed']) + len(result['runs'])} runs")
    return "\n" + "\n\n".join(parts)


def _explain(result: dict[str, Any]) -> str:
    """Where columns and data parallelism cross, and what decides it."""
    found = result["crossing"]
    words = {kind: one["words"] for kind, one in found["measured"].items()}
    unsure = "" if len(set(words.values())) == 1 else f" (from the lowest ratios: {words['min']}; from the highest: {words['max']})"
    lines = [
        f"by bytes: data parallel sends {found['gradient_bytes_a_step'] / 1e6:,.1f} MB a step, columns "
        f"{found['column_bytes_a_image']:,.0f} B an image; equal at a batch of {found['bytes_are_equal_at']:,.0f} "
        f"({found['bytes_are_equal_in_fp32_at']:,.0f} in fp32; the paper's network at 224x224: {PAPER_CROSSING:,})",
        f"measured: data parallel overtakes columns {words['median']}{unsure}",
    ]
    largest = next(one for one in reversed(result["batches"]) if one["columns_to_data"])
    data, columns = found["step_seconds"]["data"], found["step_seconds"]["model"]
    if data and columns:
        at = found["lines_cross_at"]
        lines.append(
            f"lines through the steps: data {1e3 * data['step']:,.0f} ms + {1e3 * data['image']:.2f} ms an image, columns "
            f"{1e3 * columns['step']:,.0f} ms + {1e3 * columns['image']:.2f} ms an image; they cross at "
            + ("no batch" if at is None else f"a batch of {at:,.0f}{', beyond what was measured' * (at > largest['batch'])}")
        )
    exposed = {mode: 100 * largest["modes"][mode]["comm_exposed_fraction"] for mode in ("data", "model")}
    lines.append(
        f"why: bytes tell only what is sent. At batch {largest['batch']} data parallel waits for {exposed['data']:.1f} % of a step with "
        f"nothing left to compute, columns for {exposed['model']:.1f} %. Not told apart: work on weights and gradients, whatever the "
        "batch, of which a replica has all and a column its part, and what carrying bytes takes from cores that compute"
    )
    return "\n".join(lines)
