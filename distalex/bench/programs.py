"""Programs that benchmarks run: started, waited for, and read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from distalex.errors import UserError


def run_python(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run Python with `arguments`, such as `-m MODULE`, and return what it prints; `environment` is added to this process's.

    Raises UserError, with the line of its errors that gives the reason, where it fails.
    """
    done = run_to_end(arguments, {**os.environ, **(environment or {})})
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip(" =-_")]  # torchrun rules off what it says
        ours = [line for line in lines if line.startswith("distalex ")] or [line for line in lines if "Error: " in line]
        reason = (ours[:1] or lines[-1:] or ["no message"])[0]
        raise UserError(f"{' '.join(arguments[:3])} … failed with status {done.returncode}: {reason[:300]}")
    return done.stdout


def run_to_end(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` in exactly this `environment`, and return its status and what it printed."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def read_json(arguments: Sequence[str]) -> Any:
    """Run Python with `arguments` and return the JSON of the last line that it prints. Raises UserError where it fails."""
    return json.loads(run_python(arguments).strip().splitlines()[-1])
