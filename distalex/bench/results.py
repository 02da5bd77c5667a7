"""What benchmarks share: a program run to its end, a spread of repeats, a JSON file."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distalex.errors import UserError


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def run_program(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What `command` printed. Raises UserError with the line that says why where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        ours = [line for line in lines if line.startswith("distalex ")] or [line for line in lines if "Error: " in line]
        why = (ours[:1] or lines[-1:] or ["it said nothing"])[0]
        raise UserError(f"{' '.join(command[1:4])} … ended with status {done.returncode}: {why[:300]}")
    return done.stdout


def open_folder(out: str) -> Path:
    """The folder of the results, made. Raises UserError where nothing can be written into it."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: cannot be made ({error.strerror or error}); give another folder") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"out={out}: cannot be written; give another folder")
    return folder


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write FOLDER/WHAT-TIME.json."""
    path = folder / f"{result['what']}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"written: {path}")
    return path
