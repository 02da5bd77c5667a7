"""How a command that failed says so: one line on stderr, and the cause for torchrun's report."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time


def lost_a_peer(error: Exception) -> bool:
    """Whether a collective failed because a process at its other end is gone."""
    words = ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "socket closed")
    return os.environ.get("WORLD_SIZE", "1") != "1" and any(word in str(error).lower() for word in words)


def complain(line: str, later: int = 0) -> None:
    """One line on stderr. Every process of a torchrun job makes the same mistake, and rank 0 tells it."""
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        line = f"[rank {rank}] {line}"
    tell_torchrun(line, later)
    if rank != "0":
        time.sleep(2.0)  # where rank 0 is wrong too, torchrun ends this process meanwhile
    print(line, file=sys.stderr, flush=True)


def tell_torchrun(cause: str, later: int = 0) -> None:
    """Leave the cause where torchrun looks for it: its report, which it prints last, ends with the failure of the earliest time.

    `later`, in seconds, is for the consequence of another process's failure. The format is that of
    `torch.distributed.elastic.multiprocessing.errors.ErrorHandler`, for which PyTorch need not be imported.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        extra = {"py_callstack": cause, "timestamp": str(int(time.time()) + later)}
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": cause, "extraInfo": extra}}, file)
