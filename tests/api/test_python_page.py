"""Every block of docs/python.md runs, in order, as a reader would."""

import re
import subprocess
import sys

import pytest
import torch
from support.runs import REPOSITORY

import distalex

BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "python.md").read_text(), re.DOTALL)


@pytest.mark.slow(20)
def test_every_block_of_the_page_runs_in_order(tmp_path, monkeypatch, photographs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "my-photos").symlink_to(photographs)
    (tmp_path / "photo.jpg").symlink_to(next((photographs / "test" / "cat").glob("*.jpg")))
    names = {}
    blocks = [block for block in BLOCKS if not block.startswith("# columns.py")]
    assert len(blocks) == len(BLOCKS) - 1 > 6
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["run"].step == names["columns"].step == 20 and names["mine"].folder.name == "mine"
    assert names["columns"].values("loss")[1] == pytest.approx(names["run"].values("loss")[1], rel=0.05)  # bf16
    assert len(names["logits"]) == 1 and torch.isfinite(names["logits"]).all()
    assert names["result"].top1 == distalex.evaluate(names["run"]).top1 and (tmp_path / "net.safetensors").is_file()
    assert names["data"].epoch == 2 and names["images"].shape[1:] == (3, 64, 64)
    assert names["held_out"].count == 12


@pytest.mark.slow(8)
def test_columns_in_ones_own_script_have_the_gradients_of_the_whole_network(tmp_path):
    (script,) = (block for block in BLOCKS if block.startswith("# columns.py"))
    (tmp_path / "columns.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "columns.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("every gradient is that of the whole network") == 2


def test_columns_without_other_processes_are_refused():
    net = distalex.build_network({"model.fc6": 16, "model.fc7": 16}, classes=4, image_size=64)
    with pytest.raises(distalex.UserError, match="there is 1 process; start the script with: torchrun"):
        distalex.split_into_columns(net)
    with pytest.raises(distalex.UserError, match="Linear: not a network with columns"):
        distalex.split_into_columns(torch.nn.Linear(1, 1))
    with pytest.raises(distalex.UserError, match=r"model.widht \(distalex.build_network\)"):
        distalex.build_network({"model.widht": 2}, classes=4, image_size=64)
