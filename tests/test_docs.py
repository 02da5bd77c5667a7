"""Every command of the README runs, and what it links to exists."""

import os
import re
import shlex
import subprocess

import pytest
from support.runs import REPOSITORY, copy_run, small, write_cifar10

from distalex.cli.main import main

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.partition(" #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
NETWORK = re.search(r"```python\n(# net.py.*?)```", README, re.DOTALL)[1]
# Two steps of a narrow network; what the command is about stays as it is typed.
QUICK = [
    "--train.max_steps=2",
    "--train.batch_size=8",
    "--train.eval_batch_size=512",
    "--train.threads=1",
    "--model.fc6=32",
    "--model.fc7=32",
    "--log.wandb=disabled",
    "--log.report=false",
]


def test_the_readme_has_the_commands_this_test_knows():
    assert COMMANDS[:2] == ["./launch/quickstart.sh", "./launch/test.sh"]
    assert len(COMMANDS) == 23


LONG = {command: [pytest.mark.slow(15)] * any(words in command for words in ("distalex.plan", "bench modes")) for command in COMMANDS[2:]}


@pytest.mark.parametrize("command", [pytest.param(command, marks=marks) for command, marks in LONG.items()])
def test_a_command_of_the_readme_runs(command, tmp_path, monkeypatch, photographs, photographed_run, launch):
    monkeypatch.chdir(tmp_path)
    folder = photographs
    if ("cifar10" in command and "mine.beton" not in command) or "prepare cifar10" in command:
        folder = tmp_path / "cifar-10-batches-py"
        write_cifar10(folder, images=20)
    runs = {"--model.weights=RUN": ["RUN"], "distalex.compare": ["whole", "split"]}
    reads = [name for verb in ("predict", "evaluate", "report", "export") if f"distalex.{verb}" in command for name in ["newest"]]
    for name in reads + [name for part, names in runs.items() if part in command for name in names]:
        copy_run(photographed_run, tmp_path / "runs" / name)
    (tmp_path / "net.py").write_text(NETWORK)
    if "IMAGE.jpg" in command:
        (tmp_path / "IMAGE.jpg").symlink_to(next((photographs / "test" / "cat").glob("*.jpg")))
    if "mine.beton" in command and "--out=" not in command:
        assert main(["prepare", "folder", f"--root={photographs}", "--out=mine.beton", "--holdout=0.1", "--size=72"]) == 0
    words = shlex.split(re.sub(r"\bDIR\b", str(folder), command))
    if "distalex.train" in words and "--help" not in words:
        words += [option for option in QUICK if not ("net.py" in command and option.startswith("--model."))]
        words += [] if "--name=" in command else ["--name=it"]
        words += [] if "--data.image_size" in command else ["--data.image_size=64"]
        words += ["--model.width=0.25"] * ("model.weights=RUN" in command)  # RUN's
    if "distalex.plan" in words and "--machine" not in command:  # a network that is measured in seconds
        (tmp_path / "small.yaml").write_text(small(data__synthetic_classes="4").dump())
        words += ["--config=small.yaml"]
    words += ["--modes=model", "--epochs=1"] * ("bench modes" in command)
    assert words[0] in ("python", "torchrun")
    processes = int(re.search(r"nproc_per_node=(\d+)", command)[1]) if words[0] == "torchrun" else 1
    _, module, *arguments = words[words.index("-m") :]
    done = launch(module.removeprefix("distalex."), *arguments, processes=processes)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow(60)
def test_the_quickstart_runs(tmp_path):
    """The script itself, in this clone with its own .venv, on the digits, for a few steps of a narrow network."""
    if not (REPOSITORY / ".venv" / "bin" / "python").exists():
        pytest.skip("no .venv in this clone; ./launch/test.sh makes it")
    if (REPOSITORY / ".venv").is_symlink():
        pytest.skip(".venv is a link, which the script may replace by an installation of its own; ./launch/test.sh does")
    environment = {**os.environ, "DATA": "digits", "DISTALEX_DATA": str(tmp_path), "WANDB_MODE": "disabled"}
    command = [str(REPOSITORY / "launch" / "quickstart.sh"), "--train.max_steps=4", "--model.width=0.25", f"--runs_dir={tmp_path}/runs"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "predictions.png").is_file()
    assert "finished at step 4" in (run / "report.html").read_text()
    assert "top-1" in done.stdout


@pytest.mark.parametrize("page", ["README.md", *[f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")]])
def test_links_lead_somewhere(page):
    text = (REPOSITORY / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert ((REPOSITORY / page).parent / target).exists(), f"{page} links to {target}"


def test_the_files_that_the_tour_names_exist():
    named = re.findall(r"`([\w/]+(?:/|\.py))`", (REPOSITORY / "docs" / "tour.md").read_text())
    assert len(named) > 20
    missing = [name for name in named if not any((root / name).exists() for root in (REPOSITORY / "distalex", REPOSITORY))]
    assert not missing


def test_the_tests_that_the_table_of_states_names_exist():
    named = re.findall(r"`(test_\w+)`", (REPOSITORY / "docs" / "run-directory.md").read_text())
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []


@pytest.mark.slow(20)
def test_the_tour_can_be_walked(tmp_path, launch):
    """Its commands one after the other, of a narrow network for one epoch; what it says of them holds."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs" / "tour.md").read_text(), re.DOTALL)
    said = []
    for line in (line for block in blocks for line in block.splitlines()):
        words = shlex.split(line)
        module, arguments = (found := words[words.index("-m") + 1 :])[0].removeprefix("distalex."), found[1:]
        if module == "train":
            arguments += [
                "--model.width=0.25",
                "--model.fc6=32",
                "--model.fc7=32",
                "--train.epochs=1",
                "--log.wandb=disabled",
                "--log.report=false",
            ]
        processes = int(re.search(r"nproc_per_node=(\d+)", line)[1]) if "torchrun" in line else 1
        done = launch(module, *arguments, processes=processes)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert [text.splitlines()[-1].startswith("same within") for text in said if "options that differ" in text] == [True] * 3
    assert "2 replicas of 2 processes each" in (tmp_path / "runs" / "hybrid" / "report.html").read_text()


def test_the_reference_is_that_of_the_fields():
    from distalex.cli import reference

    assert (REPOSITORY / "docs" / "configuration.md").read_text() == "\n".join(reference.pages()) + "\n"
