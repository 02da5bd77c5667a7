"""What `bench parallel` prints: a heading, a line for each run, and the tables and sentences of its result."""

from __future__ import annotations

from typing import Any

from distalex.bench.crossing import PAPER_CROSSING
from distalex.bench.options import ParallelOptions
from distalex.console import aligned, bytes_text
from distalex.machine.resources import cores


def heading(options: ParallelOptions, processes: dict[str, int], device: str, lrn: str, warm_up: int, classes: int) -> str:
    """What is measured, and with how many processes and threads."""
    shares = ", ".join(f"{mode} {count} x {max(1, cores() // count)}" for mode, count in processes.items())
    crowded = [mode for mode, count in processes.items() if device == "cpu" and count > cores()]
    return (
        f"{options.network} network at {options.image_size}x{options.image_size}, {classes} classes, {options.precision}, on {device}; "
        f"LRN: {lrn}; {options.repeats} repeats of {options.steps} steps after {warm_up}\n"
        f"processes x threads: {shares}" + f"; more processes than the {cores()} cores: {', '.join(crowded)}" * bool(crowded)
    )


def progress(run: dict[str, Any]) -> str:
    """One run on a line."""
    start = f"repeat {run['repeat']}  batch {run['batch']:>4}  {run['parallel']:<6}"
    if "error" in run:
        return f"{start}  failed: {run['error']}"
    return (
        f"{start}  {run['images_per_second']:>8,.1f} images/s  sent {bytes_text(run['comm_bytes']):>9}  "
        f"exposed {100 * run['comm_exposed_fraction']:>2.0f} %  data wait {100 * run['data_wait_fraction']:>2.0f} %"
    )


def report(result: dict[str, Any]) -> str:
    """Tables and sentences of a result."""
    parts = [aligned(_rates(result))]
    if any(one["columns_to_data"] or one["columns_to_none"] for one in result["batches"]):
        parts.append(aligned(_ratios(result)))
    if result["crossing"]:
        parts.append(_explain(result))
    if result["failed"]:
        parts.append(f"failed: {len(result['failed'])} of {len(result['failed']) + len(result['runs'])} runs")
    return "\n" + "\n\n".join(parts)


def _rates(result: dict[str, Any]) -> list[list[str]]:
    rows = [["parallel", "batch", "images/s", "from", "to", "sent", "exposed", "data wait"]]
    for one in result["batches"]:
        for mode in result["processes"]:
            if mode in one["modes"]:
                numbers = one["modes"][mode]
                rates = [f"{numbers['images_per_second'][kind]:,.1f}" for kind in ("median", "min", "max")]
                fractions = [f"{100 * numbers[key]:.1f} %" for key in ("comm_exposed_fraction", "data_wait_fraction")]
                rows.append([mode, str(one["batch"]), *rates, bytes_text(numbers["comm_bytes"]), *fractions])
    return rows


def _ratios(result: dict[str, Any]) -> list[list[str]]:
    rows = [["batch", "columns ÷ data", "from", "to", "columns ÷ none", "from", "to"]]
    for one in result["batches"]:
        pairs = (one["columns_to_data"], one["columns_to_none"])
        rows.append([str(one["batch"]), *(f"{pair[kind]:.2f}" if pair else "-" for pair in pairs for kind in ("median", "min", "max"))])
    return rows


def _explain(result: dict[str, Any]) -> str:
    """Where columns and data parallelism cross, and why."""
    found = result["crossing"]
    words = {kind: one["words"] for kind, one in found["measured"].items()}
    unsure = "" if len(set(words.values())) == 1 else f" (from the lowest ratios: {words['min']}; from the highest: {words['max']})"
    lines = [
        f"by bytes: data parallel sends {bytes_text(found['gradient_bytes_per_step'])} per step, columns "
        f"{found['column_bytes_per_image']:,.0f} B per image; equal at a batch of {found['bytes_are_equal_at']:,.0f} "
        f"({found['bytes_are_equal_in_fp32_at']:,.0f} in fp32; the paper's network at 224x224: {PAPER_CROSSING:,})",
        f"measured: data parallel overtakes columns {words['median']}{unsure}",
    ]
    largest = next(one for one in reversed(result["batches"]) if one["columns_to_data"])
    data, columns = found["step_seconds"]["data"], found["step_seconds"]["model"]
    if data and columns:
        at = found["lines_cross_at"]
        lines.append(
            f"lines fitted to the steps: data {1e3 * data['step']:,.0f} ms + {1e3 * data['image']:.2f} ms per image, columns "
            f"{1e3 * columns['step']:,.0f} ms + {1e3 * columns['image']:.2f} ms per image; they cross at "
            + ("no batch" if at is None else f"a batch of {at:,.0f}{', beyond what was measured' * (at > largest['batch'])}")
        )
    exposed = {mode: 100 * largest["modes"][mode]["comm_exposed_fraction"] for mode in ("data", "model")}
    lines.append(
        f"why: bytes are only part of the cost. At batch {largest['batch']} communication with nothing left to compute takes "
        f"{exposed['data']:.1f} % of a step in data parallel, {exposed['model']:.1f} % in columns. Not separated: the work on weights "
        "and gradients, which is the same at every batch and which a column halves, and the processor time of communication itself"
    )
    return "\n".join(lines)
