"""Columns and replicas on CUDA tensors: their processes share one GPU (distalex/bench/one_gpu.py)."""

import pytest
import torch

from distalex.bench.modes import bench_modes
from distalex.bench.options import ModesOptions


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_columns_and_replicas_of_a_gpu_train_the_run_of_one_process(tmp_path):
    """Dropout, crops, mirrors, colour noise, clipping, and an uneven last batch of 16 after 24, in fp32."""
    alone, *others = bench_modes(ModesOptions(out=str(tmp_path), device="cuda"))["runs"]
    assert alone["processes"] == 1
    assert {(run["parallel"], run["processes"]) for run in others} >= {("data", 2), ("model", 2), ("owt", 2), ("hybrid", 4)}
    assert max(run["loss_difference"] for run in others) < 1e-4
