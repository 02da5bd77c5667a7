"""`plan`: predictions as a table, a JSON file and curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.console import aligned
from distalex.errors import UserError
from distalex.files import refuse_unwritable
from distalex.machine.resources import cores
from distalex.model.own import complete
from distalex.plan.cost import StepEstimate, classes_or_assumed, classes_text, fastest_first, rank
from distalex.plan.curves import draw_curves
from distalex.plan.layers import layers_of
from distalex.plan.machine import Machine, described
from distalex.plan.measure import this_machine
from distalex.plan.options import PlanOptions


def plan(options: PlanOptions) -> list[StepEstimate]:
    """Run `python -m distalex.plan`: print the ranked table, and write the files that were asked for. Raises UserError."""
    changes = {"train.precision": options.precision} if options.precision else {}
    training = load_config(options.config, changes)
    classes = options.classes or classes_or_assumed(training.data)
    training = complete(training, classes)
    if options.machine == "this":
        training, machines = _this_machine(training, classes, options)
    else:
        machine = described(options.machine, training.train.precision, options.devices_per_node)
        machines = dict.fromkeys({1, options.world_size or machine.devices_per_node}, machine)
    predictions = fastest_first(
        prediction
        for world_size, machine in machines.items()
        for prediction in rank(training, classes, machine, world_size, options.batch_sizes)
    )
    if not predictions:
        raise UserError(f"batch_sizes={min(options.batch_sizes)}: fewer images than devices; give a batch of {max(machines)} or more")
    machine = machines[max(machines)]
    print(_heading(training, classes, machine))
    print(aligned(_rows(predictions)))
    if options.out:
        write_json(Path(options.out), training, machine, predictions)
    if options.curve:
        draw_curves(training, classes, machine, options.curve_batch, Path(options.curve))
    return predictions


def _this_machine(config: Config, classes: int, options: PlanOptions) -> tuple[Config, dict[int, Machine]]:
    """Return the config as this machine computes it, and this machine by the number of processes that share it."""
    import torch

    from distalex.plan.measure import as_computed

    device = "cuda" if torch.cuda.is_available() else "cpu"
    most = torch.cuda.device_count() if device == "cuda" else max(2, min(8, cores()))
    counts = sorted({1, options.world_size or most})
    if device == "cuda" and counts[-1] > most:
        raise UserError(f"world_size={counts[-1]}: there are {most} GPUs here; describe the cluster instead, e.g. --machine=a100")
    if counts[-1] > 4 * cores():
        raise UserError(
            f"world_size={counts[-1]}: too many to measure on {cores()} cores; describe the cluster instead, e.g. --machine=a100"
        )
    config = as_computed(config, torch.device(device))
    return config, {count: this_machine(config, classes, count, device, options.remeasure) for count in counts}


def _heading(config: Config, classes: int, machine: Machine) -> str:
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    source = (
        "measured here" if machine.timings else f"a model of described devices: {100 * machine.efficiency:.0f} % of the peak is assumed"
    )
    return (
        f"{config.model.label} network at {config.data.image_size}x{config.data.image_size}, {classes_text(config.data, classes)}, "
        f"{sum(layer.parameters for layer in layers):,} parameters, {config.train.precision}, {config.optim.name}\n"
        f"machine {machine.name}, {source}; without the loader; milliseconds, MB and GB are of the busiest device"
    )


def _rows(predictions: Sequence[StepEstimate]) -> list[list[str]]:
    head = ["parallel", "devices", "mesh", "batch", "images/s", "step ms", "compute", "exchange", "gradients", "optimizer", "host"]
    rows = [[*head, "sent MB", "memory GB"]]
    for one in predictions:
        parts = (one.step, one.compute, one.exchange, one.gradients, one.optimizer, one.host)
        rows.append(
            [one.parallel, str(one.world_size), f"{one.dp}x{one.mp}", str(one.batch), f"{one.images_per_second:,.0f}"]
            + [f"{1e3 * seconds:,.1f}" for seconds in parts]
            + [f"{one.sent.of_the_network / 1e6:,.1f}", f"{sum(one.memory) / 1e9:.2f}{'' if one.fits else ' (too much)'}"]
        )
    return rows


def numbers_of(prediction: StepEstimate) -> dict[str, Any]:
    """Return a prediction as plain values for JSON."""
    return {**asdict(prediction), "sent": prediction.sent._asdict(), "memory": prediction.memory._asdict()}


def write_json(path: Path, config: Config, machine: Machine, predictions: Sequence[StepEstimate]) -> None:
    """Write machine, config and predictions to `path`. Raises UserError where it cannot be written."""
    result = {
        "machine": asdict(machine),
        "config": config.model_dump(mode="json"),
        "predictions": [numbers_of(prediction) for prediction in predictions],
    }
    with refuse_unwritable(path, "out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"written: {path}")
