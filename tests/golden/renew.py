"""Golden curves: what a few tiny fp32 runs on the CPU measured when they were last renewed.

Each FILE.json beside this script holds the options of a run, its curve, its evaluations, and the mean and spread of every
weight at its end. `python tests/golden/renew.py` trains them all and writes them anew; a file with nothing but options
becomes a further one.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from distalex.cli.main import main
from distalex.compare.differences import MEASURES
from distalex.compare.runs import read_curves

FILES = sorted(Path(__file__).parent.glob("*.json"))
# One thread sums in one order, whatever the machine's cores.
ALWAYS = {"parallel": "none", "device": "cpu", "train.precision": "fp32", "train.threads": "1", "log.every": "1", "log.wandb": "disabled"}


def measure(options: dict[str, str], runs: Path, name: str) -> dict[str, Any]:
    """Train in the folder `runs` and return what a golden file holds."""
    typed = [f"--{key}={value}" for key, value in {**options, **ALWAYS, "runs_dir": runs, "name": name}.items()]
    status = main(["train", *typed])
    if status:
        raise RuntimeError(f"{name}: training ended with {status}")
    curves = read_curves(runs / name / "metrics.jsonl")
    rows = {kind: [{key: row[key] for key in ("step", *keys)} for row in curves[kind].values()] for kind, keys in MEASURES.items()}
    weights = torch.load(max((runs / name / "checkpoints").glob("step-*.pt")), weights_only=True)["model"]
    spread = {key: {"mean": value.double().mean().item(), "std": value.double().std().item()} for key, value in weights.items()}
    return {"options": options, **rows, "weights": spread}


def write(path: Path, golden: dict[str, Any]) -> None:
    """One row a line, so that a diff shows the steps that changed."""
    parts = []
    for part, values in golden.items():
        if isinstance(values, dict):
            lines, (opens, closes) = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()], "{}"
        else:
            lines, (opens, closes) = [json.dumps(row) for row in values], "[]"
        parts.append(f'  "{part}": {opens}\n    ' + ",\n    ".join(lines) + f"\n  {closes}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DISTALEX_DATA"] = f"{folder}/data"
        for path in FILES:
            write(path, measure(json.loads(path.read_text())["options"], Path(folder), path.stem))
            print(f"renewed: {path}")
