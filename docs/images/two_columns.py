"""Draw docs/images/two_columns.svg, two columns in training, from a run: `python docs/images/two_columns.py RUN OUT.svg`.

The picture in the README is of this run (two processes, six minutes on two cores beside other work):

    torchrun --standalone --nproc_per_node=2 -m distalex.train --parallel=model --name=two-columns \
        --data.name=cifar10 --data.image_size=64 --data.augment=flip_crop --model.width=0.5 --model.fc6=256 --model.fc7=256 \
        --model.dropout=0 --train.batch_size=128 --train.max_steps=2000 --optim.lr=0.02 --optim.momentum=0.9 \
        --optim.layer_lr=conv1:10 --optim.weight_decay=5e-4 --checkpoint.every_steps=50 --checkpoint.every_epochs=0 \
        --checkpoint.keep=1000 --log.every=5
"""

import base64
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from distalex.console import bytes_text
from distalex.runs.checkpoint import load, newest_first, step_of
from distalex.runs.metrics import read_metrics

FRAMES, HOLD, SECONDS = 20, 8, 0.3
"""Checkpoints drawn, how many times longer the last one stays, and seconds of each."""
EXCHANGES = ("conv3", "fc6", "fc7", "fc8")
"""Layers that read both columns."""
LEFT, RIGHT, TOP, BOTTOM = 62.0, 608.0, 432.0, 548.0
"""The axes of the loss, in pixels."""

STYLE = """
svg { --back: #ffffff; --ink: #1c2430; --soft: #55606e; --line: #cfd4da; --one: #1f6fb2; --two: #c05621; }
@media (prefers-color-scheme: dark) {
  svg { --back: #0d1117; --ink: #e6edf3; --soft: #9aa4af; --line: #3a424c; --one: #58a6ff; --two: #f0883e; }
}
text { font: 17px Helvetica, Arial, sans-serif; fill: var(--ink); }
.soft { fill: var(--soft); font-size: 15px; } .strong { font-weight: bold; } .one { fill: var(--one); } .two { fill: var(--two); }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.back { fill: var(--back); } .axis { stroke: var(--line); } .loss { fill: none; stroke: var(--ink); stroke-width: 2; }
.sent { stroke-width: 3; stroke-dasharray: 7 9; animation: flow 0.8s linear infinite; }
.sent.to { stroke: var(--one); } .sent.fro { stroke: var(--two); animation-direction: reverse; }
image { image-rendering: pixelated; }
.frame { opacity: 0; animation: frame TOTALs step-end infinite; }
.last { opacity: 1; animation-name: last; }
@keyframes flow { to { stroke-dashoffset: -16; } }
@keyframes frame { 0% { opacity: 1; } SHARE% { opacity: 0; } 100% { opacity: 0; } }
@keyframes last { 0% { opacity: 1; } STAYS% { opacity: 0; } 100% { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .frame, .sent { animation: none; } }
"""


def draw_training(run: Path) -> str:
    """Draw a run of two processes as an animated <svg>: the filters of both columns, the loss, and the bytes that cross in a step."""
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]
    sent = rows[0]["comm_bytes_by"]
    if not set(EXCHANGES) <= sent.keys():
        sys.exit(f"{run}: was not trained as two columns on two processes; train it with --parallel=model")
    saved = newest_first(run / "checkpoints")[::-1]
    chosen = [saved[place] for place in np.linspace(0, len(saved) - 1, min(FRAMES, len(saved))).round().astype(int)]
    slots = len(chosen) + HOLD
    style = STYLE.replace("TOTAL", f"{slots * SECONDS:g}").replace("SHARE", f"{100 / slots:.3f}")
    last = step_of(chosen[-1])
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 600" role="img" aria-labelledby="title">',
        f'<title id="title">Two columns of AlexNet in training on two processes for {last} steps: the filters of each column’s conv1, '
        "the loss falling, and the bytes that cross before conv3, fc6, fc7 and fc8</title>",
        f"<style>{style.replace('STAYS', f'{100 * (1 + HOLD) / slots:.3f}')}</style>",
        '<rect class="back" width="640" height="600" rx="10"/>',
        '<text class="strong one middle" x="122" y="66">rank 0: column 1</text>',
        '<text class="strong two middle" x="518" y="66">rank 1: column 2</text>',
        *_exchanges(sent),
        *_axes(rows, last),
    ]
    for place, path in enumerate(chosen):
        begins = (place - slots) * SECONDS  # in the past, so that no frame is missing at first
        parts.append(f'<g class="frame{" last" if path is chosen[-1] else ""}" style="animation-delay: {begins:.2f}s">')
        parts += [*_frame(load(path)["model"]["conv1.weight"], rows, step_of(path), last), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _exchanges(sent: dict[str, int]) -> Iterator[str]:
    """Dashes that flow both ways before each layer that reads both columns, with the bytes of a step."""
    yield '<text class="soft middle" x="320" y="66">each sends per step</text>'
    for place, layer in enumerate(EXCHANGES):
        y = 112 + 76 * place
        yield f'<text class="middle" x="320" y="{y}"><tspan class="strong">{layer}</tspan> {bytes_text(sent[layer])}</text>'
        yield f'<path class="sent to" d="M236 {y + 12}H404"/><path class="sent fro" d="M236 {y + 22}H404"/>'


def _axes(rows: list[dict], last: int) -> Iterator[str]:
    high = _high(rows)
    for value in np.arange(0, high + 0.01, 0.5 if high < 3 else 1):
        y = BOTTOM - (BOTTOM - TOP) * value / high
        yield f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="soft end" x="{LEFT - 8}" y="{y + 5:.1f}">{value:g}</text>'
    for step in np.linspace(0, last, 5).round().astype(int):
        yield f'<text class="soft middle" x="{LEFT + (RIGHT - LEFT) * step / last:.1f}" y="{BOTTOM + 20}">{step}</text>'
    yield f'<text class="soft middle" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 38}">step</text>'
    yield f'<text class="soft" x="{LEFT + 6}" y="{TOP - 9}">training loss</text>'


def _high(rows: list[dict]) -> float:
    return float(np.ceil(2 * max(row["loss"] for row in rows)) / 2)


def _frame(weight: Tensor, rows: list[dict], step: int, last: int) -> Iterator[str]:
    """What one checkpoint shows: its step and loss, both columns' filters, and the curve up to it."""
    high, until = _high(rows), [row for row in rows if row["step"] <= step]
    losses = np.array([row["loss"] for row in until])
    means = [losses[max(0, place - 4) : place + 1].mean() for place in range(len(losses))]  # of five lines
    yield f'<text class="strong middle" x="320" y="32" font-size="19">Step {step} of {last}: training loss {means[-1]:.2f}</text>'
    for column, (x, filters) in enumerate(zip((22, 418), weight.chunk(2), strict=True), 1):
        yield f'<image x="{x}" y="80" width="200" height="300" href="{_drawn(filters)}"><title>conv1, column {column}</title></image>'
    points = [
        f"{LEFT + (RIGHT - LEFT) * row['step'] / last:.0f} {BOTTOM - (BOTTOM - TOP) * mean / high:.0f}"
        for row, mean in zip(until, means, strict=True)
    ]
    yield f'<path class="loss" d="M{"L".join(points)}"/>'


def _drawn(filters: Tensor) -> str:
    """Draw filters (n, 3, side, side), four across, each scaled by its largest weight, as a data URI of 64 colours."""
    scaled = (filters / filters.abs().amax((1, 2, 3), keepdim=True) + 1) * 127.5
    count, _, side, _ = filters.shape
    sheet = np.zeros((-(-count // 4) * (side + 1) - 1, 4 * (side + 1) - 1, 4), np.uint8)
    for place, one in enumerate(scaled.round().byte().permute(0, 2, 3, 1).numpy()):
        top, left = place // 4 * (side + 1), place % 4 * (side + 1)
        sheet[top : top + side, left : left + side] = np.dstack([one, np.full((side, side), 255, np.uint8)])
    file = io.BytesIO()
    Image.fromarray(sheet).quantize(64, Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw_training(Path(sys.argv[1])), encoding="utf-8")
