"""How a failed command reports: one line on stderr, and the cause for torchrun's summary."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

LOST = ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "socket closed")
"""What gloo and NCCL write, in lower case, where the process at the other end is gone."""


def lost_a_peer(error: Exception) -> bool:
    """Return whether a collective failed because the process at its other end is gone."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and any(words in str(error).lower() for words in LOST)


def print_failure(line: str, later: int = 0) -> None:
    """Print one line on stderr and leave it for torchrun.

    Where all processes of a job make the same mistake only rank 0 prints it: the others wait 2 s, and torchrun ends them meanwhile.
    `later`: see `leave_cause`.
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        line = f"[rank {rank}] {line}"
    leave_cause(line, later)
    if rank != "0":
        time.sleep(2.0)
    print(line, file=sys.stderr, flush=True)


def leave_cause(cause: str, later: int = 0) -> None:
    """Write the cause into the file that torchrun reads for its summary, which ends with the earliest failure.

    `later`: seconds added to the timestamp, so that the root cause sorts first. The format is that of
    `torch.distributed.elastic.multiprocessing.errors.ErrorHandler`, for which PyTorch need not be imported.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        extra = {"py_callstack": cause, "timestamp": str(int(time.time()) + later)}
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": cause, "extraInfo": extra}}, file)
