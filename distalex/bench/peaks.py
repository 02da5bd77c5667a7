"""The machine's peak in matrix products, measured in a process of its own: `python -m distalex.bench.peaks` prints it as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

import torch

from distalex.bench.programs import read_json
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores
from distalex.machine.speed import matmul_peak


def measure_peaks() -> dict[str, float]:
    """GFLOP/s of the best of four 4096x4096 (on a GPU 8192x8192) matrix products, by precision, with a thread on every core.

    There is no `bf16` where the device has no instructions for it. Takes seconds, in a new process.
    """
    return read_json(["-m", "distalex.bench.peaks"])


def median_peaks(peaks: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of several results of `measure_peaks`, by precision."""
    return {precision: statistics.median(one[precision] for one in peaks) for precision in peaks[0]}


def main() -> None:
    """Measure the peaks in this process and print them."""
    torch.set_num_threads(cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtypes = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_bf16(device) else {})}
    size = 4096 if device.type == "cpu" else None
    print(json.dumps({name: matmul_peak(device, dtype, size) / 1e9 for name, dtype in dtypes.items()}))


if __name__ == "__main__":
    main()
