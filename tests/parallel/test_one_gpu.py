"""Columns and replicas on CUDA tensors: their processes share one GPU (support/one_gpu.py)."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from support.runs import REPOSITORY, metrics, options


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_columns_and_replicas_of_a_gpu_train_the_run_of_one_process(tmp_path):
    """Dropout, crops, mirrors, colour noise and clipping of the whole network, and an uneven last batch of 8, in fp32."""
    for name in ("none-1", "data-2", "model-2", "owt-2", "hybrid-4"):
        parallel, processes = name.split("-")
        words = options(name=name, parallel=parallel, model__width="1", train__clip_norm="1", optim__lr="0.01")
        start = ["-m", "torch.distributed.run", "--standalone", "--local_addr=127.0.0.1", f"--nproc_per_node={processes}"]
        command = [sys.executable, *start, str(REPOSITORY / "tests" / "support" / "one_gpu.py"), "train", *words, "--device=cuda"]
        done = subprocess.run([*command, f"--runs_dir={tmp_path}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
    losses = {name: [row["loss"] for row in metrics(tmp_path / name)] for name in ("none-1", "data-2", "model-2", "owt-2", "hybrid-4")}
    for name, found in losses.items():
        assert np.allclose(found, losses["none-1"], rtol=1e-4), name
