"""The table of `train --dry_run`: what each process would hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distalex.config.config import Config
from distalex.console import aligned, bytes_text
from distalex.errors import UserError
from distalex.parallel.topology import Layout, layout, mode_of
from distalex.plan.cost import classes_text, divides, rows_divided
from distalex.plan.holdings import Holding, holding, kept_rows, memory, rounds_of, sent
from distalex.plan.layers import Layer, layers_of

SIDE_BY_SIDE = 4  # columns of one table


def describe_layout(config: Config, world_size: int, classes: int) -> str:
    """Describe what each process would hold: rows of every layer, images, memory and bytes sent. Starts nothing.

    Raises UserError where `config.parallel` cannot divide the network among `world_size` processes.
    """
    parallel, batch = config.parallel, config.train.batch_size
    if parallel == "auto":
        raise UserError("parallel=auto: is chosen when the processes start; name a mode for a dry run, or run python -m distalex.plan")
    mesh = layout(parallel, world_size, config.model.columns)
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    if not divides(config, layers, parallel, world_size):
        rows = min(rows_divided(layers, parallel))
        raise UserError(f"parallel={parallel}: a layer has {rows} outputs for {mesh.mp} processes to divide; try --parallel=data")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number in range(world_size):
        groups.setdefault(_kind(layers, holding(layers, parallel, mesh, number, batch), parallel, mesh, number), []).append(number)
    members = list(groups.values())
    columns = [_describe_kind(config, layers, parallel, mesh, ranks) for ranks in members]
    tables = []
    for first in range(0, len(columns), SIDE_BY_SIDE):
        shown = columns[first : first + SIDE_BY_SIDE]
        tables.append(aligned([[name, *(column[name] for column in shown)] for name in shown[0]]))
    return "\n\n".join([_describe_mesh(config, layers, parallel, mesh, classes), *tables, "Nothing was started and nothing was written."])


def _describe_mesh(config: Config, layers: tuple[Layer, ...], parallel: str, mesh: Layout, classes: int) -> str:
    processes = mesh.dp * mesh.mp
    rounds = rounds_of(parallel, mesh, config.train.batch_size)
    in_rounds = f", which fully connected layers take in {rounds} rounds" if rounds > 1 else ""
    divided = (
        f", each divided among {mesh.mp}" if mesh.mp > 1 else ", which shard every parameter" if mode_of(parallel).SHARDS_PARAMETERS else ""
    )
    return (
        f"{config.model.label} network at {config.data.image_size}x{config.data.image_size}, {classes_text(config.data, classes)}: "
        f"{sum(layer.parameters for layer in layers):,} parameters; {config.train.precision}, {config.optim.name}\n"
        f"--parallel={parallel} on {processes:,} process{'es' * (processes > 1)}: mesh ({mesh.dp}, {mesh.mp}), "
        f"{mesh.dp} replica{'s' * (mesh.dp > 1)}{divided}; "
        f"batch {config.train.batch_size:,}{in_rounds}"
    )


def _kind(layers: tuple[Layer, ...], held: Holding, parallel: str, mesh: Layout, number: int) -> tuple[Any, ...]:
    """Return a key that is equal for processes with the same description: the same rows, or as many where many processes divide them."""
    rows = _kept(layers, held, parallel, mesh, number)
    return (rows if _dividing(parallel, mesh) <= SIDE_BY_SIDE else tuple(map(len, rows)), held.images, held.joint_images)


def _kept(layers: tuple[Layer, ...], held: Holding, parallel: str, mesh: Layout, number: int) -> tuple[range, ...]:
    """Return the rows of every layer that process `number` keeps."""
    return tuple(kept_rows(layer, rows, parallel, mesh, number) for layer, rows in zip(layers, held.rows, strict=True))


def _dividing(parallel: str, mesh: Layout) -> int:
    """Return the number of processes that divide a layer's rows."""
    return mesh.dp if mode_of(parallel).SHARDS_PARAMETERS else mesh.mp


def _describe_kind(config: Config, layers: tuple[Layer, ...], parallel: str, mesh: Layout, ranks: list[int]) -> dict[str, str]:
    """Return one column of the table."""
    batch = config.train.batch_size
    held = holding(layers, parallel, mesh, ranks[0], batch)
    needs = memory(config, layers, parallel, mesh, ranks[0], batch)
    sends = sent(config, layers, parallel, mesh, ranks[0], batch)
    text = {
        "ranks": name_ranks(ranks),
        "processes": f"{len(ranks):,}",
        "convolves images": f"{held.images:,} of {batch:,}",
        "fully connected images": f"{held.joint_images:,} of {batch:,}",
    }
    kept = _kept(layers, held, parallel, mesh, ranks[0])
    for layer, rows in zip(layers, kept, strict=True):
        if len(rows) == layer.rows:
            text[f"{layer.name} rows"] = f"all {layer.rows:,}"
        elif rows and _dividing(parallel, mesh) <= SIDE_BY_SIDE:
            text[f"{layer.name} rows"] = f"{rows.start:,}–{rows.stop - 1:,} of {layer.rows:,}"
        else:
            text[f"{layer.name} rows"] = f"{len(rows):,} each of {layer.rows:,}"
    text["parameters"] = f"{sum(len(rows) * layer.row_parameters for layer, rows in zip(layers, kept, strict=True)):,}"
    text |= {f"{kind} in memory": bytes_text(nbytes) for kind, nbytes in needs._asdict().items()}
    text["memory"] = bytes_text(sum(needs))
    text |= {f"{kind} sent a step": bytes_text(nbytes) for kind, nbytes in sends._asdict().items()}
    text["sent a step"] = bytes_text(sum(sends))
    return text


def name_ranks(ranks: Sequence[int]) -> str:
    """Return ranks in short, such as `0–63` or `0, 2, 4, … 126`."""
    if len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"{ranks[0]}–{ranks[-1]}"
    if len(ranks) <= SIDE_BY_SIDE:
        return ", ".join(map(str, ranks))
    return f"{', '.join(map(str, ranks[:3]))}, … {ranks[-1]}"
