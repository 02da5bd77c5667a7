"""Processes that srun or mpirun start become the ranks of one job."""

import pytest

from distalex.errors import UserError
from distalex.parallel.launchers import first_host, set_ranks
from distalex.parallel.topology import Topology

SRUN = {
    "SLURM_JOB_ID": "41",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "5",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "node[07-09]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
MPIRUN = {"RANK": "1", "SIZE": "2", "LOCAL_RANK": "1", "LOCAL_SIZE": "2"}


def mpirun(**changes):
    return {f"OMPI_COMM_WORLD_{name}": value for name, value in {**MPIRUN, **changes}.items()}


def ranks(environment):
    """What this process is in an environment, with the meeting place."""
    environment = dict(environment)
    set_ranks(environment)
    return Topology.from_environment(environment), environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")


def test_a_task_of_srun_is_a_rank():
    topology, host, port = ranks(SRUN)
    assert (topology, host) == (Topology(3, 5, 1, 2), "node07")
    assert 15000 <= int(port) < 30000
    assert ranks({**SRUN, "SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"}) == (Topology(4, 5, 0, 1), "node07", port)
    assert ranks({**SRUN, "SLURM_STEP_ID": "1"})[2] != port  # two steps of a job may run on one host


def test_tasks_on_one_host_meet_at_its_loopback_address():
    assert ranks({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"})[:2] == (Topology(1, 2, 1, 2), "localhost")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # srun -n1, or an interactive shell
        {"SLURM_JOB_ID": "41", "SLURM_NTASKS": "2"},  # a shell of salloc
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "ENVIRONMENT": "BATCH"},  # a batch script
        mpirun(RANK="0", SIZE="1", LOCAL_RANK="0", LOCAL_SIZE="1"),
    ],
)
def test_a_single_process_stays_one(environment):
    assert ranks(environment) == (Topology(), None, None)


def test_torchruns_variables_come_first():
    torchrun = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}
    assert ranks({**SRUN, **mpirun(), **torchrun})[0] == Topology(0, 4, 0, 4)


def test_a_process_of_mpirun_is_a_rank_also_inside_a_batch_job():
    assert ranks({**SRUN, **mpirun()})[:2] == (Topology(1, 2, 1, 2), "localhost")
    hydra = {"PMI_RANK": "2", "PMI_SIZE": "4", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4"}
    assert ranks(hydra)[:2] == (Topology(2, 4, 2, 4), "localhost")


def test_mpirun_on_several_hosts_needs_the_first_ones_name():
    with pytest.raises(UserError, match="use: mpirun -x MASTER_ADDR=HOST … python"):
        ranks(mpirun(LOCAL_SIZE="1"))
    assert ranks({**mpirun(LOCAL_SIZE="1"), "MASTER_ADDR": "node1", "MASTER_PORT": "5"}) == (Topology(1, 2, 1, 1), "node1", "5")


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("node07", "node07"), ("a,b", "a"), ("node[07-09,12],x", "node07"), ("rack[2,4]n[03-04]-ib,x", "rack2n03-ib"), ("", "localhost")],
)
def test_the_first_host_of_a_list_of_slurms(hosts, first):
    assert first_host(hosts) == first
