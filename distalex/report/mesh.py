"""A drawing of a run's processes: what each holds, what they send each other, and how long they wait for it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape

from rich.cells import cell_len

from distalex.config.choices import facts_in
from distalex.config.config import MODES
from distalex.console import bytes_text, counted
from distalex.report.history import History, Row
from distalex.runs.metrics import finite

LEAST_BOX = 130.0
"""Least width of a process, in pixels."""
GAP_DOWN = 46.0
"""Between replicas, in pixels."""
LINE = 16.0
"""Height of a line of text, in pixels."""
MAX_NAMED = 6
"""Most layers whose exchanges are named."""
MAX_DRAWN = 4
"""Most replicas, and most columns, that are drawn."""
NOT_BETWEEN_COLUMNS = ("gradients", "parameters", "images", "logits")
"""Purposes of communication that no layer of the network needs."""


@dataclass(frozen=True)
class Exchange:
    """What one process sends for one purpose in a step, and how long it waits for it without computing."""

    purpose: str
    """A layer, or `gradients`, `parameters`, `images` or `logits`."""
    bytes: int
    """Sent by a process in a step."""
    exposed: float | None
    """Share of the time of a step; None where unknown."""


def exchanges_of(run: History) -> list[Exchange]:
    """Return the communication of a step by purpose, from the last 20 logged steps that have the largest batch."""
    rows = [row for row in run.train if isinstance(row.get("comm_bytes_by"), dict)]
    if not rows:
        return []
    most = max(finite(row.get("comm_bytes")) or 0 for row in rows)  # the last batch of an epoch is smaller
    rows = [row for row in rows if (finite(row.get("comm_bytes")) or 0) == most][-20:]
    found = []
    for purpose, sent in rows[-1]["comm_bytes_by"].items():
        waits = [finite((row.get("comm_exposed_by") or {}).get(purpose)) for row in rows]
        known = [wait for wait in waits if wait is not None]
        found.append(Exchange(str(purpose), int(finite(sent) or 0), sum(known) / len(known) if known else None))
    return found


def draw_mesh(run: History) -> str:
    """Draw a run's processes as an <svg>, replicas down and columns across; empty where the run has no starts.jsonl."""
    if not run.starts:
        return ""
    start = run.starts[-1]
    replicas, columns = _mesh_of(start)
    mode = facts_in(MODES, str(start.get("parallel", "none")))
    down, across = min(replicas, MAX_DRAWN), min(columns, MAX_DRAWN)
    sent = {exchange.purpose: exchange for exchange in exchanges_of(run)}
    between = _lines_between([exchange for purpose, exchange in sent.items() if purpose not in NOT_BETWEEN_COLUMNS and exchange.bytes])
    replicated = [_sent(purpose, sent) for purpose in ("gradients", "parameters") if purpose == "gradients" or purpose in sent]
    boxes = {
        (replica, column): [
            f"rank {replica * columns + column}",
            *_wrapped(str(mode.get("HOLDS", "")).format(column=column + 1, columns=columns)),
        ]
        for replica in range(down)
        for column in range(across)
    }
    box = max(LEAST_BOX, *(_width(line) + 24 for lines in boxes.values() for line in lines))
    below = max(map(_width, replicated)) + 20 if down > 1 else 0.0  # beside the arrow in the middle of a box
    gap = max(60.0, below - box, *(_width(line) + 24 for line in between))
    left_out = f"{counted(replicas, 'replica')} of {counted(columns, 'process', 'processes')} in all"
    some = replicas > down or columns > across
    tall = max(map(len, boxes.values())) * LINE + 14
    width = max(20 + across * box + (across - 1) * gap + max(0.0, below - box / 2), _width(left_out) + 20 if some else 0)
    height = 20 + down * tall + (down - 1) * GAP_DOWN + (LINE + 6) * some
    parts = [f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(describe_mesh(run))}">']
    for (replica, column), lines in boxes.items():
        x, y = 10 + column * (box + gap), 10 + replica * (tall + GAP_DOWN)
        parts.append(f'<rect class="box" x="{x:g}" y="{y:g}" width="{box:g}" height="{tall:g}" rx="6"/>')
        for number, line in enumerate(lines):
            parts.append(_text(x + box / 2, y + 20 + LINE * number, line, "" if number else "strong"))
        if column + 1 < across:
            parts.append(_arrow(x + box, y + tall / 2, x + box + gap, y + tall / 2))
            parts += [_text(x + box + gap / 2, y + tall / 2 + up, line) for up, line in zip((-7, 16), between, strict=False)]
        if replica + 1 < down:
            parts.append(_arrow(x + box / 2, y + tall, x + box / 2, y + tall + GAP_DOWN))
            middle = y + tall + GAP_DOWN / 2 + 4 - LINE * (len(replicated) - 1) / 2
            parts += [_text(x + box / 2 + 8, middle + LINE * number, line, anchor="start") for number, line in enumerate(replicated)]
    if some:
        parts.append(_text(10, height - 8, left_out, anchor="start"))
    return "".join([*parts, "</svg>"])


def describe_mesh(run: History) -> str:
    """Describe the drawing in words, for readers who do not see it."""
    if not run.starts:
        return ""
    start = run.starts[-1]
    spent = "; ".join(f"{exchange.purpose} {bytes_text(exchange.bytes)}" for exchange in exchanges_of(run) if exchange.bytes)
    replicas, columns = _mesh_of(start)
    return (
        f"{counted(replicas * columns, 'process', 'processes')} with --parallel={start.get('parallel', 'none')}: "
        f"{counted(replicas, 'replica')} of {counted(columns, 'process', 'processes')} each. "
        f"Each process sends per step: {spent or 'nothing'}."
    )


def _mesh_of(start: Row) -> tuple[int, int]:
    """Replicas, and processes of each."""
    replicas, columns = (max(1, int(finite(start.get(key)) or 1)) for key in ("replicas", "columns"))
    return replicas, columns


def _lines_between(between: list[Exchange]) -> list[str]:
    """What columns exchange: the layers, and the bytes with the time exposed; empty where they exchange nothing."""
    if not between:
        return []
    names = [exchange.purpose for exchange in between]
    waits = [exchange.exposed for exchange in between if exchange.exposed is not None]
    exposed = f", {100 * sum(waits):.1f} % exposed" if waits else ""
    listed = ", ".join(names) if len(names) <= MAX_NAMED else f"{names[0]} to {names[-1]}, {len(names)} layers"
    return [listed, f"{bytes_text(sum(exchange.bytes for exchange in between))}{exposed}"]


def _sent(purpose: str, sent: dict[str, Exchange]) -> str:
    if purpose not in sent:
        return purpose
    exposed = sent[purpose].exposed
    return f"{purpose} {bytes_text(sent[purpose].bytes)}" + ("" if exposed is None else f", {100 * exposed:.1f} % exposed")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 30)


def _width(text: str) -> float:
    """About the width of a label in pixels, rather too much, whatever font a browser has."""
    return 6.8 * cell_len(text)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="label {kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="arrow" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'
