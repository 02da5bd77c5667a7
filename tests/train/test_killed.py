"""Runs that are killed, signalled or stuck."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import warm
from support.runs import metrics, newest, options
from support.session import made_once

from distalex.cli.main import main
from distalex.data.pipeline import Split
from distalex.runs.metrics import MetricsFile, read_metrics

LONG = {"train__epochs": "30", "checkpoint__every_steps": "2", "data__synthetic_images": "40", "checkpoint__keep": "2"}


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, warm_server):
    """The folder of a LONG run that nothing happens to, by its parallel mode and processes."""

    def run(parallel, processes):
        def train(folder):
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            words = options(name="whole", runs_dir=str(folder), parallel=parallel, device="cpu", **LONG)
            done = warm.run("train", words, processes, folder, environment, 300)
            assert done.returncode == 0, done.stderr

        return made_once(tmp_path_factory, f"long-{parallel}-{processes}", train) / "whole"

    return run


def start_cold(*arguments, processes):
    """distalex.train under torchrun's own command, from nothing."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", "distalex.train"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *launcher, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)


def start_ranks(start, *arguments):
    """A rank for each of the lists of `arguments`, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank, words in enumerate(arguments):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": len(arguments), "LOCAL_WORLD_SIZE": len(arguments)}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ranks.append(start("train", *words, **{name: str(value) for name, value in place.items()}))
    return ranks


def wait_for_step(run, step, process, seconds=120):
    """Until metrics.jsonl has a line of `step` or a later one."""
    path = run / "metrics.jsonl"
    for _ in range(seconds * 50):
        if path.is_file() and any(row.get("step", 0) >= step for row in read_metrics(path)):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    raise AssertionError(f"no step {step} after {seconds} s")


def wait_for_line(words, job, seconds=60):
    """The first printed line that has `words`."""
    for _ in range(seconds * 50):
        for line in job.printed[0].splitlines():
            if words in line:
                return line
        time.sleep(0.02)
    raise AssertionError(f"no line with {words!r} after {seconds} s: {job.printed}")


def assert_same_to_the_bit(one, other):
    """Every step and evaluation once, with the same numbers, and the same weights and momenta."""
    for kind, keys in (("train", ("step", "epoch", "loss", "lr", "top1")), ("eval", ("step", "epoch", "loss", "top1", "count"))):
        first, second = ([tuple(row[key] for key in keys) for row in metrics(run, kind)] for run in (one, other))
        assert first == second
    first, second = newest(one), newest(other)
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]), name
    for name, values in first["optimizer"].items():
        assert all(torch.equal(value, second["optimizer"][name][key]) for key, value in values.items()), name


@pytest.mark.slow(20)
@pytest.mark.parametrize(("processes", "parallel"), [(1, "none"), (2, "model")])
def test_a_run_killed_at_any_moment_resumes_to_the_same_bits(tmp_path, start, uninterrupted, processes, parallel):
    """`kill -9` of all of it. Chosen moments of many more runs and topologies: `python -m distalex.bench faults`."""
    words = [*options(name="killed", parallel=parallel, device="cpu", **LONG), "--checkpoint.resume=auto"]
    for step in (3, 11, 20):
        killed = start("train", *words, processes=processes)
        wait_for_step(tmp_path / "runs" / "killed", step, killed)
        killed.kill()
    last = start("train", *words, processes=processes)
    assert last.wait(300) == 0, last.printed
    assert len((tmp_path / "runs" / "killed" / "starts.jsonl").read_text().splitlines()) == 4
    assert_same_to_the_bit(uninterrupted(parallel, processes), tmp_path / "runs" / "killed")


@pytest.mark.slow
def test_a_second_job_on_one_run_is_refused_and_a_killed_one_leaves_no_lock(tmp_path, start):
    words = [*options(name="it", **LONG), "--train.epochs=2000", "--checkpoint.resume=auto"]
    first = start("train", *words)
    wait_for_step(tmp_path / "runs" / "it", 2, first)
    second = start("train", *words)
    assert second.wait(120) == 2
    (line,) = second.printed[1].strip().splitlines()
    assert "runs/it/" in line and f"process {first.pid} on {socket.gethostname()}" in line
    first.kill()
    third = start("train", *words, "--train.max_steps=5")
    assert third.wait(120) == 0, third.printed
    assert os.listdir(tmp_path / "runs") == ["it"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, 138), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_schedulers_and_people_send_saves_the_run(tmp_path, start, number, status):
    process = start("train", *options(name="it", train__epochs="5000"), "--checkpoint.every_epochs=0")
    wait_for_step(tmp_path / "runs" / "it", 3, process)
    process.send_signal(number)
    assert process.wait(60) == status
    assert newest(tmp_path / "runs" / "it")["progress"]["step"] == metrics(tmp_path / "runs" / "it")[-1]["step"]


def test_a_run_stopped_during_evaluation_resumes_with_that_evaluation(tmp_path, monkeypatch):
    assert main(["train", *options(name="whole", parallel="none")]) == 0
    batches = Split.test

    def interrupted(split):
        for number, batch in enumerate(batches(split)):
            if number == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(Split, "test", interrupted)
    words = ["train", *options(name="stopped", parallel="none", train__eval_batch_size="2"), "--checkpoint.resume=auto"]
    assert main(words) == 143
    assert metrics(tmp_path / "runs" / "stopped", "eval") == []
    monkeypatch.setattr(Split, "test", batches)
    assert main(words) == 0
    losses = [[row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("whole", "stopped")]
    assert losses[0] == losses[1]
    whole, stopped = ([(row["epoch"], row["count"]) for row in metrics(tmp_path / "runs" / name, "eval")] for name in ("whole", "stopped"))
    assert whole == stopped


def kill_rank(rank, job):
    """`kill -9` of one of the processes that torchrun started."""
    pids = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()
    (pid,) = (pid for pid in pids if f"\0RANK={rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(int(pid), signal.SIGKILL)


@pytest.mark.slow(20)
@pytest.mark.parametrize("parallel", ["data", "model"])
def test_torchrun_restarts_a_job_that_lost_a_rank(tmp_path, start, uninterrupted, parallel):
    words = [*options(name="struck", parallel=parallel, device="cpu", **LONG), "--checkpoint.resume=auto"]
    job = start("train", *words, processes=2, restarts=1)
    wait_for_step(tmp_path / "runs" / "struck", 7, job)
    job.kill_rank(1)
    assert job.wait(300) == 0, job.printed
    assert len((tmp_path / "runs" / "struck" / "starts.jsonl").read_text().splitlines()) == 2
    assert_same_to_the_bit(uninterrupted(parallel, 2), tmp_path / "runs" / "struck")


def root_cause(report):
    """The end of what torchrun prints last."""
    return report.split("Root Cause (first observed failure):")[-1]


@pytest.mark.slow
def test_torchrun_ends_with_the_first_cause_and_its_rank(tmp_path, launch):
    mistaken = launch("train", *options(), "--optim.lr=-1", processes=2)
    assert mistaken.returncode == 1
    cause = root_cause(mistaken.stderr)
    assert "rank      : 0" in cause and "exitcode  : 2" in cause and "distalex train: optim.lr=-1 (command line): " in cause

    job = start_cold(*options(name="killed", parallel="data", device="cpu", **LONG), "--train.epochs=2000", processes=2)
    wait_for_step(tmp_path / "runs" / "killed", 3, job)
    kill_rank(1, job)
    report = job.communicate(timeout=60)[1]
    assert job.returncode == 1
    assert "rank      : 1" in root_cause(report) and "SIGKILL" in root_cause(report)


@pytest.mark.slow
def test_a_disk_that_is_full_loses_nothing_that_was_saved(tmp_path, start):
    disk = tmp_path / "runs"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here; root could")
    try:
        words = [*options(name="it", parallel="none", device="cpu", **LONG), "--train.epochs=400", "--model.width=0.125"]
        job = start("train", *words)
        wait_for_step(disk / "it", 4, job)
        filler = disk / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        line = wait_for_line("no checkpoint at step", job)
        assert "No space left on device" in line and "stays" in line
        saved = newest(disk / "it")["progress"]["step"]
        assert saved >= 2
        job.send_signal(signal.SIGTERM)
        _, complaint = job.communicate(timeout=60)
        assert job.returncode == 1 and "is not saved" in complaint.splitlines()[-1]
        assert newest(disk / "it")["progress"]["step"] == saved
        filler.unlink()
        again = start("train", *words, "--checkpoint.resume=auto", f"--train.max_steps={saved + 6}")
        assert again.wait(120) == 0, again.printed
        assert [row["step"] for row in metrics(disk / "it")] == list(range(1, saved + 7))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_ranks_that_differ_end_before_the_first_step_and_say_in_what(tmp_path, start):
    ranks = start_ranks(start, options(name="it", optim__lr="0.01"), options(name="it", optim__lr="0.02"))
    assert [rank.wait(120) for rank in ranks] == [2, 2]
    for rank in ranks:
        assert "rank 1 on " in (line := rank.printed[1])
        assert "has optim.lr 0.02 and rank 0" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"parallel": "model", "checkpoint__every_steps": "1", "model__fc6": "2048", "model__fc7": "2048"}],
    ids=["in a step", "a column while the other saves"],
)
def test_a_rank_that_is_stopped_is_named_by_the_others(tmp_path, start, changes):
    words = options(name="it", train__epochs="20000", train__timeout="4", **changes)
    ranks = start_ranks(start, words, words)
    wait_for_step(tmp_path / "runs" / "it", 5, ranks[0])
    ranks[1].send_signal(signal.SIGSTOP)
    assert ranks[0].wait(60) == 1
    assert "rank 1 does not answer" in ranks[0].printed[1].strip().splitlines()[-1]


def test_metrics_wait_for_a_disk_that_takes_them_again(tmp_path):
    said = []
    path = tmp_path / "run" / "metrics.jsonl"
    file = MetricsFile(path, said.append)
    file.write("train", {"step": 1})
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    file.write("train", {"step": 2})
    file.write("train", {"step": 3})
    assert len(said) == 1
    assert "training continues" in said[0]
    path.parent.unlink()
    file.write("train", {"step": 4})
    assert [json.loads(line)["step"] for line in Path(path).read_text().splitlines()] == [2, 3, 4]


def test_what_a_killed_job_left_half_written_is_removed(tmp_path):
    words = ["train", *options(name="it", parallel="none"), "--checkpoint.resume=auto"]
    assert main([*words, "--train.max_steps=3"]) == 0
    for name in ("checkpoints/.step-00000004.pt.99.partial", "metrics.partial"):
        (tmp_path / "runs" / "it" / name).write_bytes(b"half")
    assert main(words) == 0
    assert not list((tmp_path / "runs" / "it").rglob("*.partial"))
