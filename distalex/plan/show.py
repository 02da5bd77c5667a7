"""Predictions and layouts as people read them: tables, a JSON file, curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distalex.config import config
from distalex.errors import UserError
from distalex.parallel import topology
from distalex.parallel.topology import Layout
from distalex.plan.cost import Prediction, classes_of, divides, predict, rank
from distalex.plan.holdings import Holding, holding, memory, parameters, rounds_of, sent
from distalex.plan.layers import Layer, layers_of
from distalex.plan.machine import Machine, described
from distalex.plan.measure import this_machine

CURVE = tuple(2**power for power in range(11))
"""Devices of a curve."""
PER_DEVICE = 512
"""Pictures of each device where a curve holds them fixed."""
COLOURS = {"data": "tab:blue", "hybrid": "tab:green", "owt": "tab:orange", "model": "tab:red"}
NAMES = {"data": "data parallel (DDP)", "hybrid": "replicas of two columns", "owt": "One Weird Trick", "model": "two columns"}
SIDE_BY_SIDE = 4  # kinds of process in one table


def plan(options: config.PlanOptions) -> list[Prediction]:
    """`python -m distalex.plan`: print the ranked table, and write what was asked for. Raises UserError."""
    changes = {"train.precision": options.precision} if options.precision else {}
    training = config.load(options.config, changes)
    classes = options.classes or classes_of(training)
    if options.machine == "this":
        training, machines = _this_machine(training, classes, options)
    else:
        machine = described(options.machine, training.train.precision, options.devices_per_node)
        machines = dict.fromkeys({1, options.world_size or machine.devices_per_node}, machine)
    predictions = [
        prediction
        for world_size, machine in machines.items()
        for prediction in rank(training, classes, machine, world_size, options.batch_sizes)
    ]
    predictions.sort(key=lambda prediction: (not prediction.fits, -prediction.images_per_second))
    if not predictions:
        raise UserError(f"batch_sizes={min(options.batch_sizes)}: fewer pictures than devices; give a batch of {max(machines)} or more")
    machine = machines[max(machines)]
    print(_heading(training, classes, machine))
    print(aligned(_rows(predictions)))
    if options.out:
        write_json(Path(options.out), training, machine, predictions)
    if options.curve:
        draw_curves(training, classes, machine, options.curve_batch, Path(options.curve))
    return predictions


def _this_machine(training: config.Config, classes: int, options: config.PlanOptions) -> tuple[config.Config, dict[int, Machine]]:
    """The configuration as it computes here, and this machine as each count of processes shares it."""
    import torch

    from distalex.machine.precision import as_computed

    device = "cuda" if torch.cuda.is_available() else "cpu"
    most = torch.cuda.device_count() if device == "cuda" else max(2, min(8, topology.cores()))
    counts = sorted({1, options.world_size or most})
    if device == "cuda" and counts[-1] > most:
        raise UserError(f"world_size={counts[-1]}: there are {most} GPUs here; describe the cluster instead, e.g. --machine=a100")
    if counts[-1] > 4 * topology.cores():
        raise UserError(
            f"world_size={counts[-1]}: too many to measure on {topology.cores()} cores; describe the cluster instead, e.g. --machine=a100"
        )
    training = as_computed(training, torch.device(device))
    return training, {count: this_machine(training, classes, count, device, options.remeasure) for count in counts}


def _heading(training: config.Config, classes: int, machine: Machine) -> str:
    layers = layers_of(training.model, classes, training.data.image_size, training.train.precision)
    source = (
        "measured here" if machine.timings else f"a model of described devices: {100 * machine.efficiency:.0f} % of the peak is assumed"
    )
    return (
        f"{training.model.name} network at {training.data.image_size}x{training.data.image_size}, {classes} classes, "
        f"{sum(layer.parameters for layer in layers):,} parameters, {training.train.precision}, {training.optim.name}\n"
        f"machine {machine.name}, {source}; without the loader; milliseconds, MB and GB are of the busiest device"
    )


def _rows(predictions: Sequence[Prediction]) -> list[list[str]]:
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


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


def numbers_of(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON has it."""
    return {**asdict(prediction), "sent": prediction.sent._asdict(), "memory": prediction.memory._asdict()}


def write_json(path: Path, training: config.Config, machine: Machine, predictions: Sequence[Prediction]) -> None:
    """Raises UserError where it cannot be written."""
    result = {
        "machine": asdict(machine),
        "config": training.model_dump(mode="json"),
        "predictions": [numbers_of(prediction) for prediction in predictions],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    except OSError as error:
        raise UserError(f"out={path}: cannot be written ({error.strerror or error}); give another place") from None
    print(f"written: {path}")


def curves(training: config.Config, classes: int, machine: Machine, batch: int, per_device: bool) -> dict[str, dict[int, Prediction]]:
    """Predictions from 1 to 1,024 devices by mode; `batch` pictures a step, or a device."""
    layers = layers_of(training.model, classes, training.data.image_size, training.train.precision)
    return {
        mode: {
            devices: predict(training, classes, machine, mode, devices, batch * devices if per_device else batch)
            for devices in CURVE
            if divides(training, layers, mode, devices) and (per_device or batch >= devices)
        }
        for mode in COLOURS
    }


def draw_curves(training: config.Config, classes: int, machine: Machine, batch: int, path: Path) -> None:
    """Two panels, a fixed batch and a fixed share of each device, into `path`, and their tables on the terminal. Raises UserError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, per_device, pictures in zip(panels, (False, True), (batch, PER_DEVICE), strict=True):
        what = f"{pictures:,} pictures {'a device' if per_device else 'a step, over all devices'}"
        found = curves(training, classes, machine, pictures, per_device)
        _draw_panel(axes, found)
        axes.set_title(what, fontsize=11)
        print(f"\nimages/s at {what}")
        print(aligned(_curve_rows(found)))
    panels[0].set_ylabel("predicted images/s")
    panels[0].legend(fontsize=9, loc="upper left", frameon=False)
    figure.suptitle(
        f"A model, not a measurement: {training.model.name} network, {training.train.precision}, on {machine.name} devices, "
        f"{machine.devices_per_node} a node",
        fontsize=11,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UserError(f"curve={path}: cannot be written ({error}); give a place such as scaling.png") from None
    print(f"drawn: {path}")


def _draw_panel(axes: Any, found: dict[str, dict[int, Prediction]]) -> None:
    one = found["data"][1].images_per_second
    axes.plot(CURVE, [one * devices for devices in CURVE], color="grey", linestyle="--", linewidth=1, label="one device, times devices")
    for mode, line in found.items():
        if line:
            rates = [prediction.images_per_second for prediction in line.values()]
            axes.plot(list(line), rates, marker="o", markersize=4, color=COLOURS[mode], label=NAMES[mode])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(CURVE, [f"{devices:,}" for devices in CURVE])
    axes.set_xlabel("devices")
    axes.grid(alpha=0.3, which="major")
    axes.spines[["top", "right"]].set_visible(False)


def _curve_rows(found: dict[str, dict[int, Prediction]]) -> list[list[str]]:
    def cell(mode: str, devices: int) -> str:
        prediction = found[mode].get(devices)
        return f"{prediction.images_per_second:,.0f}" if prediction else "-"

    one = found["data"][1].images_per_second
    rows = [["devices", *found, "best ÷ linear"]]
    for devices in CURVE:
        best = max(line[devices].images_per_second for line in found.values() if devices in line)
        rows.append([str(devices), *(cell(mode, devices) for mode in found), f"{100 * best / one / devices:.0f} %"])
    return rows


def describe_layout(options: config.Config, world_size: int, classes: int) -> str:
    """Who would hold what: rows of every layer, pictures, memory and bytes of each kind of process. Starts nothing.

    Raises UserError where `options.parallel` cannot divide the network among `world_size` processes.
    """
    parallel, batch = options.parallel, options.train.batch_size
    if parallel == "auto":
        raise UserError("parallel=auto: decided when the processes run; name a mode for a dry run, or see python -m distalex.plan")
    mesh = topology.layout(parallel, world_size, options.model.columns)
    layers = layers_of(options.model, classes, options.data.image_size, options.train.precision)
    if not divides(options, layers, parallel, world_size):
        rows = min(layer.rows for layer in layers if parallel != "owt" or not layer.convolves)
        raise UserError(f"parallel={parallel}: a layer has {rows} outputs for {mesh.mp} processes to divide; try --parallel=data")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number in range(world_size):
        groups.setdefault(_kind(holding(layers, parallel, mesh, number, batch), mesh), []).append(number)
    members = list(groups.values())
    columns = [_describe_kind(options, layers, parallel, mesh, ranks) for ranks in members]
    tables = []
    for first in range(0, len(columns), SIDE_BY_SIDE):
        shown = columns[first : first + SIDE_BY_SIDE]
        tables.append(aligned([[name, *(column[name] for column in shown)] for name in shown[0]]))
    return "\n\n".join([_describe_mesh(options, layers, parallel, mesh, classes), *tables, "Nothing was started and nothing was written."])


def _describe_mesh(options: config.Config, layers: tuple[Layer, ...], parallel: str, mesh: Layout, classes: int) -> str:
    processes = mesh.dp * mesh.mp
    rounds = rounds_of(parallel, mesh, options.train.batch_size)
    in_rounds = f", which fully connected layers take in {rounds} rounds" if rounds > 1 else ""
    divided = f", each divided among {mesh.mp}" if mesh.mp > 1 else ""
    return (
        f"{options.model.name} network at {options.data.image_size}x{options.data.image_size}, {classes} classes: "
        f"{sum(layer.parameters for layer in layers):,} parameters; {options.train.precision}, {options.optim.name}\n"
        f"--parallel={parallel} on {processes:,} process{'es' * (processes > 1)}: mesh ({mesh.dp}, {mesh.mp}), "
        f"{mesh.dp} replica{'s' * (mesh.dp > 1)}{divided}; "
        f"batch {options.train.batch_size:,}{in_rounds}"
    )


def _kind(held: Holding, mesh: Layout) -> tuple[Any, ...]:
    """Equal for processes that one description serves: the same rows, or as many of them where too many divide them."""
    rows = held.rows if mesh.mp <= SIDE_BY_SIDE else tuple(map(len, held.rows))
    return (rows, held.pictures, held.joint_pictures)


def _describe_kind(options: config.Config, layers: tuple[Layer, ...], parallel: str, mesh: Layout, ranks: list[int]) -> dict[str, str]:
    """One column of the dry run's table."""
    batch = options.train.batch_size
    held = holding(layers, parallel, mesh, ranks[0], batch)
    needs = memory(options, layers, parallel, mesh, ranks[0], batch)
    sends = sent(options, layers, parallel, mesh, ranks[0], batch)
    text = {
        "ranks": name_ranks(ranks),
        "processes": f"{len(ranks):,}",
        "convolves pictures": f"{held.pictures:,} of {batch:,}",
        "fully connected pictures": f"{held.joint_pictures:,} of {batch:,}",
    }
    for layer, rows, cut in zip(layers, held.rows, held.divided, strict=True):
        if not cut:
            text[f"{layer.name} rows"] = f"all {layer.rows:,}"
        elif mesh.mp <= SIDE_BY_SIDE:
            text[f"{layer.name} rows"] = f"{rows.start:,}–{rows.stop - 1:,} of {layer.rows:,}"
        else:
            text[f"{layer.name} rows"] = f"{len(rows):,} each of {layer.rows:,}"
    text["parameters"] = f"{parameters(layers, held):,}"
    text |= {f"{kind} in memory": name_bytes(nbytes) for kind, nbytes in needs._asdict().items()}
    text["memory"] = name_bytes(sum(needs))
    text |= {f"{kind} sent a step": name_bytes(nbytes) for kind, nbytes in sends._asdict().items()}
    text["sent a step"] = name_bytes(sum(sends))
    return text


def name_bytes(count: int) -> str:
    """E.g. `31.1 MB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B" if count else "0"


def name_ranks(ranks: Sequence[int]) -> str:
    """E.g. `0–63`, or `0, 2, 4, … 126`."""
    if len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"{ranks[0]}–{ranks[-1]}"
    if len(ranks) <= SIDE_BY_SIDE:
        return ", ".join(map(str, ranks))
    return f"{', '.join(map(str, ranks[:3]))}, … {ranks[-1]}"
