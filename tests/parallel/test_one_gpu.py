"""Columns and replicas on CUDA tensors: their processes share one GPU (distalex/bench/one_gpu.py)."""

import pytest
import torch

from distalex.bench.gpu import ON_ONE_GPU, compare_modes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_columns_and_replicas_of_a_gpu_train_the_run_of_one_process():
    """Dropout, crops, mirrors, colour noise, clipping, and an uneven last batch of 16 after 24, in fp32."""
    found = compare_modes(ON_ONE_GPU, "cuda")
    assert set(found["relative_difference"]) == {"data-2", "model-2", "owt-2", "hybrid-4"}
    assert max(found["relative_difference"].values()) < 1e-4
