"""The speed of the plainest work the machine does."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

from distalex.machine.resources import cores

PEAK = """
import json, sys, torch
from distalex.limits import matmul_peak
from distalex.precision import has_bf16
torch.set_num_threads(int(sys.argv[1]))
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
kinds = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_bf16(device) else {})}
print(json.dumps({name: matmul_peak(device, kind, 4096 if device.type == 'cpu' else None) / 1e9 for name, kind in kinds.items()}))
"""


def median_peaks(peaks: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of several measurements by `matmul_peak`."""
    return {kind: statistics.median(rates[kind] for rates in peaks) for kind in peaks[0]}


def matmul_peak() -> dict[str, float]:
    """GFLOP/s of the best of four 4096x4096 (on a GPU 8192x8192) matrix products, by precision, in a process of its own; without bf16 where
    the device has no instructions for it."""
    output = subprocess.run([sys.executable, "-c", PEAK, str(cores())], check=True, capture_output=True, text=True).stdout
    return json.loads(output)
