"""Processes that srun or mpirun started: their ranks, as torchrun's variables; before torch is imported.

Sources: `man srun`, output environment variables; Open MPI's documentation, environment variables set for MPI applications; Hydra, the
launcher of MPICH and Intel MPI.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from distalex.errors import UserError
from distalex.parallel.topology import Topology

MPI = {
    "mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    "mpiexec": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}
"""Variables of Open MPI and Hydra with a process's rank, the number of processes, and the same on its host."""
JOBS = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")
"""Variables with a name that all processes of one mpirun share, and no other's; Hydra has none, and the command line must do."""
FIRST_PORT, PORTS = 15000, 15000
"""Ports for the meeting place: below those that systems give out by themselves."""


def set_ranks(environment: MutableMapping[str, str]) -> None:
    """Set torchrun's variables in `environment` where srun or mpirun started this process as one of several.

    Nothing is set under torchrun, for a single task, and in a batch script or an interactive shell of an allocation. MASTER_ADDR and
    MASTER_PORT stay where they are given. Raises UserError where the processes of mpirun are on several hosts and MASTER_ADDR is not.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        return
    found = _started_by_mpi(environment) or _started_by_srun(environment)  # in this order, as mpirun itself may start processes with srun
    if found is None or found.topology.world_size == 1:
        return
    ranks = zip(("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), vars(found.topology).values(), strict=True)
    environment.update({name: str(value) for name, value in ranks})
    environment.setdefault("MASTER_ADDR", found.host)
    environment.setdefault("MASTER_PORT", str(FIRST_PORT + zlib.crc32(found.job.encode()) % PORTS))


class _Started(NamedTuple):
    """How a launcher started this process."""

    topology: Topology
    host: str
    """Where rank 0 runs."""
    job: str
    """A name that all processes of the job share, and no other's."""


def _started_by_mpi(environment: Mapping[str, str]) -> _Started | None:
    for launcher, names in MPI.items():
        if all(environment.get(name, "").isdigit() for name in names):
            topology = Topology(*(int(environment[name]) for name in names))
            job = next((environment[name] for name in JOBS if name in environment), " ".join(sys.argv))
            return _Started(topology, _host_of_mpi(launcher, topology, environment), job)
    return None


def _started_by_srun(environment: Mapping[str, str]) -> _Started | None:
    topology = _tasks_of_srun(environment)
    if topology is None:
        return None
    host = "localhost" if topology.on_one_node else first_host(_of_step("NODELIST", environment))
    return _Started(topology, host, f"{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}")


def _host_of_mpi(launcher: str, topology: Topology, environment: Mapping[str, str]) -> str:
    """Where rank 0 of an MPI job listens. Raises UserError where that is on another host and unknown."""
    if topology.on_one_node or "MASTER_ADDR" in environment:
        return "localhost"
    give = "-x MASTER_ADDR=HOST" if launcher == "mpirun" else "-genv MASTER_ADDR HOST"
    raise UserError(
        f"{launcher} started {topology.world_size} processes on several hosts, and MASTER_ADDR, the host of rank 0, is not set; "
        f"use: {launcher} {give} … python -m distalex.train …"
    )


def _tasks_of_srun(environment: Mapping[str, str]) -> Topology | None:
    """This task's place among those of its step; None outside of srun.

    A batch script has a task's variables too, with the number of tasks of the whole job, but none of a step. In an interactive shell
    the step has one task.
    """
    is_batch = environment.get("ENVIRONMENT") == "BATCH"
    tasks = environment.get("SLURM_STEP_NUM_TASKS") or ("" if is_batch else environment.get("SLURM_NTASKS", ""))
    rank, local_rank = environment.get("SLURM_PROCID", ""), environment.get("SLURM_LOCALID", "")
    if not (tasks.isdigit() and rank.isdigit() and local_rank.isdigit()):
        return None
    node = int(environment.get("SLURM_NODEID") or 0)
    by_node = [
        int(count)
        for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", _of_step("TASKS_PER_NODE", environment))
        for _ in range(int(times or 1))
    ]
    return Topology(int(rank), int(tasks), int(local_rank), by_node[node] if node < len(by_node) else int(tasks))


def _of_step(name: str, environment: Mapping[str, str]) -> str:
    """A variable of the step, else of the job."""
    return next((environment[key] for key in (f"SLURM_STEP_{name}", f"SLURM_JOB_{name}", f"SLURM_{name}") if environment.get(key)), "")


def first_host(hosts: str) -> str:
    """Return the first host of a list as SLURM writes it: `node[07-09,12],login1` gives `node07`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    return re.sub(r"\[([^\]\-,]+)[^\]]*\]", r"\1", first[0] if first else "") or "localhost"
