"""Several hosts, as network namespaces of this machine."""

import json
import os
import signal
import sys
import time

import pytest
from support.hosts import Job
from support.runs import REPOSITORY, metrics, options

from distalex.bench.laboratory import Laboratory, why_not
from distalex.cli.main import main

LACKS = why_not() or ("" if (REPOSITORY / ".venv" / "bin" / "torchrun").exists() else "no .venv in this clone, which launch/ uses")
pytestmark = pytest.mark.skipif(bool(LACKS), reason=f"no laboratory of hosts: {LACKS}")
ENDLESS = {"train__epochs": "100000", "checkpoint__every_steps": "5"}


@pytest.mark.slow(25)
def test_hosts_meet_where_no_own_name_resolves_whichever_starts_first(tmp_path):
    """The head by a name that is the loopback's on the head itself, and by IPv6 with a port of its own."""
    with Laboratory(2, "1gbit") as laboratory:
        first, second = laboratory.hosts
        for name, head, order in (("name", "debian1", (second, first)), ("ipv6", "[fd00:200::1]:31000", (first, second))):
            job = Job(tmp_path, name, head)
            parts = [job.start(host, train__epochs="1") for host in order]
            assert [part.wait(90) for part in parts] == [0, 0], job.log(first).read_text()
            assert job.rows("starts.jsonl")[0]["processes"] == 2
            assert job.step == 3


def test_a_head_that_cannot_be_reached_is_one_line_on_every_host(tmp_path):
    with Laboratory(2) as laboratory:
        for head, status, says in (
            ("10.200.0.99", 1, "10.200.0.99 port 29400 could not be reached within 2 s"),
            ("node1:31001", 1, "port 31001 could not be reached within 2 s (last: Connection refused)"),
            ("nowhere", 2, "HEAD=nowhere: this node cannot resolve nowhere"),
            ("node1:port", 2, "HEAD=node1:port: give a name or address"),
        ):
            job = Job(tmp_path, f"it-{head}", head, WAIT="2", GRACE="2")
            hosts = laboratory.hosts[1 if "31001" in head else 0 :]
            parts = [job.start(host) for host in hosts]
            assert [part.wait(60) for part in parts] == [status] * len(hosts)
            for host in hosts:
                assert says in job.log(host).read_text().splitlines()[-1]


@pytest.mark.slow(15)
def test_processes_that_srun_started_find_the_interface_by_themselves(tmp_path):
    """One task on each of two hosts, whose own names do not resolve."""
    with Laboratory(2) as laboratory:
        job = Job(tmp_path, "it", "")
        tasks = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_NUM_TASKS": "2"}
        tasks |= {"SLURM_NTASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_LOCALID": "0", **job.environment}
        words = [sys.executable, "-m", "distalex.train", *options(name="it", runs_dir=str(tmp_path / "runs"), train__epochs="1")]
        started = [
            host.start(words, {**tasks, "SLURM_PROCID": str(number), "SLURM_NODEID": str(number)}, tmp_path, job.log(host))
            for number, host in enumerate(laboratory.hosts)
        ]
        assert [task.wait(90) for task in started] == [0, 0], job.log(laboratory.hosts[0]).read_text()
    assert job.rows("starts.jsonl")[0]["processes"] == 2


@pytest.mark.slow(40)
def test_a_cut_link_ends_every_host_with_a_line(tmp_path):
    job = Job(tmp_path, "it", "10.200.0.1", GRACE="8")
    with Laboratory(2) as laboratory:
        first, second = laboratory.hosts
        parts = [job.start(host, train__timeout="5", **ENDLESS) for host in (first, second)]
        job.wait(lambda: job.step > 6)
        second.cut()
        started = time.monotonic()
        assert [part.wait(60) for part in parts] == [1, 1]
        assert time.monotonic() - started < 60
        assert first.alive() == second.alive() == []
    assert "rank 1 does not answer" in job.log(first).read_text()
    assert "neither another process nor rank 0's host answers: the link to it is cut" in job.log(second).read_text()
    for host in (first, second):
        assert "no training process has run here for 8 s" in job.log(host).read_text().splitlines()[-1]


@pytest.mark.slow(70)
def test_a_job_outlives_a_lost_process_a_short_cut_and_a_lost_host_and_takes_it_back(tmp_path, launch):
    """The curve is that of two undisturbed processes: to the bit while there are two."""
    job = Job(tmp_path, "it", "node1", "1:2", GRACE="45")

    def goes_on(starts: int) -> None:
        job.wait(lambda: len(job.rows("starts.jsonl")) == starts)
        before = job.step
        job.wait(lambda: job.step > before + 6)

    with Laboratory(2) as laboratory:
        first, second = laboratory.hosts
        for host in (first, second):
            job.start(host, **ENDLESS, train__timeout="15")
        goes_on(1)
        os.kill(job.process_on(second), signal.SIGKILL)
        goes_on(2)
        second.cut()
        time.sleep(3.0)
        second.mend()
        goes_on(2)
        job.wait(lambda: job.step > 25)
        second.kill()
        goes_on(3)
        job.start(second, **ENDLESS, train__timeout="15")
        goes_on(4)
        last = job.step
    assert [row["processes"] for row in job.rows("starts.jsonl")] == [2, 2, 1, 2]
    undisturbed = options(name="two", train__max_steps=str(last), **{**ENDLESS, "checkpoint__every_steps": "0"})
    assert launch("train", *undisturbed, processes=2).returncode == 0
    expected = [row["loss"] for row in metrics(tmp_path / "runs" / "two")]
    found = [row["loss"] for row in job.rows() if row["kind"] == "train"][:last]
    assert found[:20] == expected[:20]
    assert found == pytest.approx(expected, abs=1e-3)  # rounding grows over hundreds of steps with one process


@pytest.mark.slow(40)
def test_the_bytes_that_we_count_are_those_on_the_wire(tmp_path):
    assert main(["bench", "hosts", "--rate=1gbit", "--modes=model", "--batches=8", "--steps=12", f"--out={tmp_path}"]) == 0
    (path,) = tmp_path.glob("hosts-*.json")
    for one in json.loads(path.read_text())["summary"][0]["modes"].values():
        assert one["interface_bytes"] == pytest.approx(one["counted_bytes"], rel=0.05)
    assert path.with_suffix(".png").stat().st_size > 10_000
