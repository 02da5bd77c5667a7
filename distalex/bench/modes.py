"""`bench modes`: one small run in every --parallel, each step's loss and the final weights beside those of one process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from distalex.bench.network_modes import Network, inspect_network, possible_processes
from distalex.bench.options import ModesOptions
from distalex.bench.programs import run_python, torchrun
from distalex.bench.results import make_result, open_folder, write_result
from distalex.bench.small_run import small_run
from distalex.compare.differences import compare_states
from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.console import aligned, bytes_text, counted
from distalex.errors import UserError
from distalex.machine.precision import has_bf16
from distalex.parallel.start import choose_device
from distalex.parallel.topology import Topology
from distalex.runs.checkpoint import load, newest_first
from distalex.runs.metrics import read_metrics

CLASSES, SIDE, SHOWN = 4, 64, 3
BATCH = 24  # of 64 images: the last one is uneven
ON_ONE_GPU = "distalex.bench.one_gpu"
"""Module that trains with processes which share one GPU."""


def bench_modes(options: ModesOptions) -> dict[str, Any]:
    """Train in one process and in each mode, print a table and write OUT/modes-TIME.json.

    A run that fails is listed under `failed`, and the others are still compared. Raises UserError before anything starts, or where
    one process cannot train the network.
    """
    network = inspect_network(options.network, CLASSES, SIDE)
    device = choose_device(options.device, Topology())
    options = options.model_copy(update={"precision": options.precision if has_bf16(device) else "fp32"})
    chosen = choose_runs(options, network, device)
    folder = open_folder(options.out)
    with tempfile.TemporaryDirectory() as place:
        alone, weights = _train(options, "none", 1, device, Path(place))
        runs, failed = [{**alone, "loss_difference": 0.0, "weight_difference": 0.0}], []
        for mode, processes in chosen:
            try:
                found, state = _train(options, mode, processes, device, Path(place))
            except UserError as error:
                failed.append({"parallel": mode, "processes": processes, "error": str(error)})
                print(f"{mode}, {processes} processes: failed: {error}", flush=True)
            else:
                between = {"loss_difference": _of_losses(found, alone), "weight_difference": _of_weights(state, weights)}
                runs.append({**found, **between})
                print(f"{mode}, {processes} processes: losses within {runs[-1]['loss_difference']:.1e} of one process's", flush=True)
    result = make_result(options, {"device": device.type, "steps": len(alone["losses"]), "runs": runs, "failed": failed})
    print(report(runs))
    write_result(result, folder)
    return result


def choose_runs(options: ModesOptions, network: Network, device: torch.device) -> list[tuple[str, int]]:
    """Modes and their numbers of processes, besides one process. Raises UserError where the network has not a mode that was named."""
    chosen = []
    for mode, declared in declared_in(MODES).items():
        if declared.facts["LEAST"] == 1 or (options.modes and mode not in options.modes):
            continue
        try:
            possible = possible_processes(mode, network)
            if mode == "fsdp" and not options.modes and shares_gpu(device, 2):
                raise UserError("not tried with processes that share a GPU; use --modes=fsdp to try it")
        except UserError as error:
            if options.modes:
                raise
            print(f"without {mode}: {error}")
            continue
        counts = [count for count in options.processes if count in possible]
        if not counts:
            counts = [min(possible, key=lambda count: abs(count - min(options.processes)))]
            print(f"{mode} with {counts[0]} processes, as {' or '.join(map(str, options.processes))} cannot divide the network")
        chosen += [(mode, count) for count in dict.fromkeys(counts)]
    return chosen


def shares_gpu(device: torch.device, processes: int) -> bool:
    """Whether so many processes are more than there are GPUs."""
    return device.type == "cuda" and processes > torch.cuda.device_count()


def _train(options: ModesOptions, mode: str, processes: int, device: torch.device, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train in a mode; losses of all steps with the bytes that rank 0 sends in the first, and the last checkpoint."""
    name = f"{mode}-{processes}"
    changes: dict[str, object] = {"runs_dir": place, "name": name, "parallel": mode, "device": device.type, "seed": options.seed}
    changes |= {"checkpoint.every_steps": 0, "checkpoint.keep": 1, "train.epochs": options.epochs, "train.batch_size": BATCH}
    changes |= {"train.precision": options.precision, "train.timeout": 120, "train.clip_norm": 1, "optim.lr": options.lr}
    if options.network == "paper":
        changes["model.width"] = 1
    else:
        changes |= {"model.name": options.network, "model.fc6": None, "model.fc7": None}
    train = small_run(changes, ON_ONE_GPU if shares_gpu(device, processes) else "distalex.train")
    run_python([*torchrun(processes, place), *train])
    rows = [row for row in read_metrics(place / name / "metrics.jsonl") if row["kind"] == "train"]
    sent = {key: rows[0][key] for key in ("comm_bytes", "comm_bytes_by")}
    found = {"parallel": mode, "processes": processes, "losses": [row["loss"] for row in rows], **sent}
    return found, load(newest_first(place / name / "checkpoints")[0])


def _of_losses(run: dict[str, Any], alone: dict[str, Any]) -> float:
    """Largest relative difference of any step's loss."""
    return max(abs(loss - other) / abs(other) for loss, other in zip(run["losses"], alone["losses"], strict=True))


def _of_weights(state: dict[str, Any], alone: dict[str, Any]) -> float:
    """Largest absolute difference of any weight or buffer of two checkpoints."""
    return max(tensor.difference for tensor in compare_states(state, alone) if tensor.group == "model")


def report(runs: Sequence[dict[str, Any]]) -> str:
    """A table of the runs, of which the first is one process's."""
    rows = [["parallel", "processes", f"losses of the first {SHOWN} steps", "all losses within", "weights within", "sent in a step"]]
    for run in runs:
        losses = " ".join(f"{loss:.7f}" for loss in run["losses"][:SHOWN])
        within = [f"{run['loss_difference']:.1e}", f"{run['weight_difference']:.1e}"] if run is not runs[0] else ["", ""]
        rows.append([run["parallel"], str(run["processes"]), losses, *within, bytes_text(run["comm_bytes"])])
    steps = counted(len(runs[0]["losses"]), "step")
    return f"\n{steps}; losses relative to one process's, weights absolute\n{aligned(rows)}"
