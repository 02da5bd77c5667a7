"""Commands under torchrun, and the console script."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support.runs import REPOSITORY, options

from distalex.cli.main import main
from distalex.cli.parse import parse


def test_one_process_was_asked_for_and_two_started(launch):
    done = launch("train", *options(parallel="none"), processes=2)
    assert done.returncode == 1  # torchrun's own
    lines = [line for line in done.stderr.splitlines() if line.startswith(("distalex train:", "[rank 1] distalex train:"))]
    assert len(lines) == 1, "torchrun repeats it in its report"
    assert "parallel=none needs 1 process and 2 were started" in lines[0]
    assert "torchrun --nproc_per_node=2 -m distalex.train --parallel=data" in lines[0]


def test_one_of_several_processes_leaves_without_taking_its_interpreter_down():
    """Where gloo's threads and the end of an interpreter meet, the process is aborted after all was done."""
    program = (
        "import atexit, sys\n"
        "from distalex.cli import main\n"
        "class Late:\n"
        "    def __del__(self):\n"
        "        sys.__stdout__.write('taken down\\n')\n"
        "late = Late()\n"
        "atexit.register(print, 'at exit')\n"
        "main.main = lambda arguments: print(*arguments) or 3\n"
        "sys.argv = ['distalex', 'words']\n"
        "main.entry()\n"
    )
    for processes, said in (("1", "words\nat exit\ntaken down\n"), ("2", "words\nat exit\n")):
        variables = {**os.environ, "WORLD_SIZE": processes}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, env=variables)
        assert (done.stdout, done.returncode) == (said, 3), done.stderr


def test_what_torch_distributed_launch_adds_is_left_out(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert parse(["--local-rank=1", "--seed=3"]).options == parse(["--local_rank=1", "--seed=3"]).options == {"seed": "3"}


def test_torchruns_variables_are_checked(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "zero")
    assert main(["train", *options()]) == 2
    assert "RANK='zero'" in capsys.readouterr().err


def test_the_console_script_is_the_same(tmp_path):
    script = Path(sys.executable).parent / "distalex"
    if not script.is_file():
        assert shutil.which("distalex"), "the package is not installed; ./launch/test.sh does it"
        script = Path(shutil.which("distalex") or "")
    start = time.perf_counter()
    done = subprocess.run([str(script), "train", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--parallel=" in done.stdout
    assert time.perf_counter() - start < 60  # no promise; only that nothing hangs
