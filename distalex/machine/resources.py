"""Cores and memory of this process."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path


def keep_freed_memory() -> None:
    """Configure glibc to keep freed memory for later allocations.

    A training step on a CPU frees and allocates gigabytes, and the page faults of new memory take a third of its time.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def cores() -> int:
    """Number of processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_each(processes: int) -> int:
    """Number of cores for each of a host's processes: an equal share, or as many as srun gives each task."""
    given = "" if "TORCHELASTIC_RUN_ID" in os.environ else os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores(), int(given)) if processes > 1 and given.isdigit() else max(1, cores() // processes)


def shared_memory() -> int:
    """Bytes that processes can still share with each other in /dev/shm, 0 where it cannot be written; very many on other systems."""
    if sys.platform != "linux":
        return 2**62
    try:
        free = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return free.f_bavail * free.f_frsize if os.access("/dev/shm", os.W_OK) else 0


def free_memory() -> int:
    """Bytes of host memory that this process can still allocate: the system's free memory or its control group's, whichever is less."""
    free = [
        int(line.split()[1]) * 1024
        for line in (Path("/proc/meminfo").read_text().splitlines() if os.path.exists("/proc/meminfo") else [])
        if line.startswith("MemAvailable")
    ]
    try:
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        pass
    return min(free, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
