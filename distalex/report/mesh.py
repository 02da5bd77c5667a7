"""The mesh of a run as a drawing: which process holds what, who talks to whom, how much and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from distalex.config.choices import declared_in
from distalex.config.config import MODES
from distalex.report.history import History, number

BOX = (150.0, 56.0)  # of a process
GAP = (150.0, 46.0)  # between columns, between replicas
MOST = 4  # replicas or columns that are drawn
NOT_BETWEEN_COLUMNS = ("gradients", "images", "logits")


@dataclass(frozen=True)
class Exchange:
    """What one process sends for one purpose in a step, and how long it waits for it with nothing to compute."""

    purpose: str
    bytes: int
    exposed: float | None
    """Share of the time; None where it is not known."""


def exchanges_of(run: History) -> list[Exchange]:
    """By purpose, from the last logged steps."""
    rows = [row for row in run.train if isinstance(row.get("comm_bytes_by"), dict)][-20:]
    if not rows:
        return []
    found = []
    for purpose, sent in rows[-1]["comm_bytes_by"].items():
        waits = [number((row.get("comm_exposed_by") or {}).get(purpose)) for row in rows]
        known = [wait for wait in waits if wait is not None]
        found.append(Exchange(str(purpose), int(number(sent) or 0), sum(known) / len(known) if known else None))
    return found


def draw(run: History) -> str:
    """An <svg> of replicas (down) and columns (across), or nothing where the run does not tell."""
    if not run.starts:
        return ""
    start = run.starts[-1]
    replicas, columns = (max(1, int(number(start.get(key)) or 1)) for key in ("replicas", "columns"))
    declared = declared_in(MODES).get(str(start.get("parallel", "none")))
    down, across = min(replicas, MOST), min(columns, MOST)
    width = across * BOX[0] + (across - 1) * GAP[0] + 20
    height = down * BOX[1] + (down - 1) * GAP[1] + 20 + (18 if replicas > down or columns > across else 0)
    sent = {exchange.purpose: exchange for exchange in exchanges_of(run)}
    between = [exchange for purpose, exchange in sent.items() if purpose not in NOT_BETWEEN_COLUMNS and exchange.bytes]
    words = describe(run)
    parts = [f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px" role="img" aria-label="{escape(words)}">']
    for replica in range(down):
        for column in range(across):
            x, y = 10 + column * (BOX[0] + GAP[0]), 10 + replica * (BOX[1] + GAP[1])
            holds = declared.facts["HOLDS"].format(column=column + 1, columns=columns) if declared else ""
            parts.append(f'<rect class="box" x="{x:g}" y="{y:g}" width="{BOX[0]:g}" height="{BOX[1]:g}" rx="6"/>')
            parts.append(_text(x + BOX[0] / 2, y + 22, f"rank {replica * columns + column}", "strong"))
            parts += [_text(x + BOX[0] / 2, y + 40 + 12 * line, part) for line, part in enumerate(_wrapped(holds))]
            if column + 1 < across:
                parts += _across(x + BOX[0], y, between)
            if replica + 1 < down:
                parts.append(_arrow(x + BOX[0] / 2, y + BOX[1], x + BOX[0] / 2, y + BOX[1] + GAP[1]))
                parts.append(_text(x + BOX[0] / 2 + 8, y + BOX[1] + GAP[1] / 2 + 4, _told("gradients", sent), anchor="start"))
    if replicas > down or columns > across:
        parts.append(_text(10, height - 6, f"and so on: {replicas} replicas of {columns} process(es)", anchor="start"))
    return "".join([*parts, "</svg>"])


def describe(run: History) -> str:
    """The drawing in words."""
    if not run.starts:
        return ""
    start = run.starts[-1]
    spent = "; ".join(f"{exchange.purpose} {in_bytes(exchange.bytes)}" for exchange in exchanges_of(run) if exchange.bytes)
    return (
        f"{start.get('processes', 1)} process(es) with --parallel={start.get('parallel', 'none')}: {start.get('replicas', 1)} replica(s) "
        f"of {start.get('columns', 1)} process(es) each. A process sends in a step: {spent or 'nothing'}."
    )


def in_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError


def _across(x: float, y: float, between: list[Exchange]) -> list[str]:
    parts = [_arrow(x, y + BOX[1] / 2, x + GAP[0], y + BOX[1] / 2)]
    listed = ", ".join(exchange.purpose for exchange in between)
    waits = [exchange.exposed for exchange in between if exchange.exposed is not None]
    parts.append(_text(x + GAP[0] / 2, y + BOX[1] / 2 - 7, listed))
    exposed = f", {100 * sum(waits):.1f} % exposed" if waits else ""
    parts.append(_text(x + GAP[0] / 2, y + BOX[1] / 2 + 16, f"{in_bytes(sum(exchange.bytes for exchange in between))}{exposed}"))
    return parts


def _told(purpose: str, sent: dict[str, Exchange]) -> str:
    if purpose not in sent:
        return purpose
    exposed = sent[purpose].exposed
    return f"{purpose} {in_bytes(sent[purpose].bytes)}" + ("" if exposed is None else f", {100 * exposed:.1f} % exposed")


def _wrapped(text: str) -> list[str]:
    first, comma, rest = text.partition(", and ")
    return [f"{first},", f"and {rest}"] if comma else [first]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="label {kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="arrow" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'
