"""A drawing of a run's processes: what each holds, what they send each other, and how long they wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from distalex.config.choices import facts_in
from distalex.config.config import MODES
from distalex.console import bytes_text
from distalex.report.history import History
from distalex.runs.metrics import finite

BOX = (150.0, 56.0)
"""Width and height of a process, in pixels."""
GAP = (150.0, 46.0)
"""Between columns and between replicas, in pixels."""
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
    """Return the communication of a step by purpose, from the last 20 logged steps."""
    rows = [row for row in run.train if isinstance(row.get("comm_bytes_by"), dict)][-20:]
    if not rows:
        return []
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
    replicas, columns = (max(1, int(finite(start.get(key)) or 1)) for key in ("replicas", "columns"))
    holds = str(facts_in(MODES, str(start.get("parallel", "none"))).get("HOLDS", ""))
    down, across = min(replicas, MAX_DRAWN), min(columns, MAX_DRAWN)
    width = across * BOX[0] + (across - 1) * GAP[0] + 20
    height = down * BOX[1] + (down - 1) * GAP[1] + 20 + (18 if replicas > down or columns > across else 0)
    sent = {exchange.purpose: exchange for exchange in exchanges_of(run)}
    between = [exchange for purpose, exchange in sent.items() if purpose not in NOT_BETWEEN_COLUMNS and exchange.bytes]
    words = describe_mesh(run)
    parts = [f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px" role="img" aria-label="{escape(words)}">']
    for replica in range(down):
        for column in range(across):
            x, y = 10 + column * (BOX[0] + GAP[0]), 10 + replica * (BOX[1] + GAP[1])
            parts.append(f'<rect class="box" x="{x:g}" y="{y:g}" width="{BOX[0]:g}" height="{BOX[1]:g}" rx="6"/>')
            parts.append(_text(x + BOX[0] / 2, y + 22, f"rank {replica * columns + column}", "strong"))
            parts += [
                _text(x + BOX[0] / 2, y + 40 + 12 * line, part)
                for line, part in enumerate(_wrapped(holds.format(column=column + 1, columns=columns)))
            ]
            if column + 1 < across:
                parts += _across(x + BOX[0], y, between)
            if replica + 1 < down:
                parts.append(_arrow(x + BOX[0] / 2, y + BOX[1], x + BOX[0] / 2, y + BOX[1] + GAP[1]))
                purposes = ["gradients", *(purpose for purpose in ("parameters",) if purpose in sent)]
                for line, purpose in enumerate(purposes):
                    below = GAP[1] / 2 + 4 + 14 * line - 7 * (len(purposes) - 1)
                    parts.append(_text(x + BOX[0] / 2 + 8, y + BOX[1] + below, _sent(purpose, sent), anchor="start"))
    if replicas > down or columns > across:
        parts.append(_text(10, height - 6, f"{replicas} replicas of {columns} process(es) in all", anchor="start"))
    return "".join([*parts, "</svg>"])


def describe_mesh(run: History) -> str:
    """Describe the drawing in words, for readers who do not see it."""
    if not run.starts:
        return ""
    start = run.starts[-1]
    spent = "; ".join(f"{exchange.purpose} {bytes_text(exchange.bytes)}" for exchange in exchanges_of(run) if exchange.bytes)
    return (
        f"{start.get('processes', 1)} process(es) with --parallel={start.get('parallel', 'none')}: {start.get('replicas', 1)} replica(s) "
        f"of {start.get('columns', 1)} process(es) each. Each process sends per step: {spent or 'nothing'}."
    )


def _across(x: float, y: float, between: list[Exchange]) -> list[str]:
    parts = [_arrow(x, y + BOX[1] / 2, x + GAP[0], y + BOX[1] / 2)]
    listed = ", ".join(exchange.purpose for exchange in between)
    waits = [exchange.exposed for exchange in between if exchange.exposed is not None]
    parts.append(_text(x + GAP[0] / 2, y + BOX[1] / 2 - 7, listed))
    exposed = f", {100 * sum(waits):.1f} % exposed" if waits else ""
    parts.append(_text(x + GAP[0] / 2, y + BOX[1] / 2 + 16, f"{bytes_text(sum(exchange.bytes for exchange in between))}{exposed}"))
    return parts


def _sent(purpose: str, sent: dict[str, Exchange]) -> str:
    if purpose not in sent:
        return purpose
    exposed = sent[purpose].exposed
    return f"{purpose} {bytes_text(sent[purpose].bytes)}" + ("" if exposed is None else f", {100 * exposed:.1f} % exposed")


def _wrapped(text: str) -> list[str]:
    first, comma, rest = text.partition(", and ")
    return [f"{first},", f"and {rest}"] if comma else [first]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="label {kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="arrow" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'
