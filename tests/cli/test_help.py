"""Help answers at once and lists every option."""

import os
import subprocess
import sys

import pytest
from support.runs import REPOSITORY

import distalex
from distalex.cli.main import main
from distalex.config.config import Config
from distalex.config.schema import options_of

COMMANDS = ["train", "evaluate", "compare", "predict", "export", "report", "prepare", "plan", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_at_once_and_without_torch(command):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['distalex.{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('distalex.{command}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    sys.exit(sorted({'torch', 'numba', 'wandb', 'matplotlib'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "Usage: python -m distalex." in done.stdout


def test_help_lists_every_option_with_its_default(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for name, field in options_of(Config):
        assert f"--{name}=" in text
        assert field.description, f"{name} has no description"
    assert "--optim.lr=X [0.01]" in text
    assert "Section 5" in text


def test_a_reader_that_is_gone_ends_help_in_silence():
    """As in `python -m distalex --help | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "distalex", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"distalex {distalex.__version__}\n"


def test_no_command_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
