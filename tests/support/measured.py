"""Imported by the process that others are forked from (warm.py): measures the matmul peak once for all of them."""

import torch

from distalex.machine.speed import matmul_peak

torch.set_num_threads(1)
matmul_peak(torch.device("cpu"), torch.float32)
