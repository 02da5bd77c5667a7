"""What the runs of `bench parallel` come to: medians by mode, ratios, and where data parallelism overtakes columns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from distalex.bench.crossing import Line, bytes_crossing, fit_line, lines_crossing, measured_crossing
from distalex.bench.results import spread


def summarize_batch(runs: Sequence[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Medians and spread at one batch size by mode, and the ratio of two columns to `data` and `none` within each repeat."""
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


def find_crossing(runs: Sequence[dict[str, Any]], precision: str) -> dict[str, Any] | None:
    """The batch size from which on data parallelism is ahead of columns, by bytes and as measured; None where one of them did not run."""
    data, columns = ([run for run in runs if run["parallel"] == mode] for mode in ("data", "model"))
    ratios = {batch: summarize_batch(runs, batch)["columns_to_data"] for batch in sorted({run["batch"] for run in runs})}
    ratios = {batch: ratio for batch, ratio in ratios.items() if ratio}
    if not ratios:
        return None
    gradients = data[0]["comm_bytes"]
    per_image = columns[0]["comm_bytes"] / columns[0]["batch"]
    equal = bytes_crossing(gradients, per_image)
    lines = {"data": _line_of(data), "model": _line_of(columns)}
    found = {kind: measured_crossing({batch: ratio[kind] for batch, ratio in ratios.items()}) for kind in ("median", "min", "max")}
    return {
        "gradient_bytes_per_step": gradients,
        "column_bytes_per_image": per_image,
        "bytes_are_equal_at": equal,
        "bytes_are_equal_in_fp32_at": equal if precision == "fp32" else equal / 2,  # gradients stay fp32
        "measured": {kind: one._asdict() for kind, one in found.items()},
        "step_seconds": {mode: line._asdict() if line else None for mode, line in lines.items()},
        "lines_cross_at": lines_crossing(lines["data"], lines["model"]) if lines["data"] and lines["model"] else None,
    }


def _line_of(runs: Sequence[dict[str, Any]]) -> Line | None:
    """The line through the median step time of every batch size."""
    return fit_line(
        {
            batch: statistics.median(batch / run["images_per_second"] for run in runs if run["batch"] == batch)
            for batch in sorted({run["batch"] for run in runs})
        }
    )
