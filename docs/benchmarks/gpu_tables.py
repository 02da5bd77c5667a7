"""What one GPU reaches, and where a step's time goes there."""

from statistics import median
from typing import Any

from table_words import number, read, rows_of

SECOND_HALF, FIRST_HALF, STEADY = (40, 0), (40, 20), (20, 0)
"""Of the rows of a run, printed every 20 steps: those that end so many steps after a multiple of 40, an epoch; all of them."""
PARTS = {
    "convolutions, before with their biases": ("conv",),
    "LRN, ReLU and pooling, after with the biases": ("after", "activation"),
    "fully connected layers and dropout": ("fc", "drop"),
    "optimizer, the rest": ("optimizer", "other"),
}
"""Of a GPU's step, by what the names of layers start with."""


def on_a_gpu() -> str:
    """Return what was measured on one H200."""
    best, paper = read("cifar10_best-h200"), read("paper_network-h200")
    seconds = sorted(seed["seconds_from_start_to_end"] for seed in best["seeds"])
    deviation = best["top1_standard_deviation"]
    rows = [
        [
            "lossless CIFAR-10, `cifar10_best`: fifty epochs, kernels compiled before, process start to end",
            f"**{best['top1_mean']:.1f} %** (three seeds, σ {deviation:.2f}) in {seconds[0]:.0f} to {seconds[1]:.0f} s",
        ],
        [
            "the paper's network, 224×224, bf16, batch 1,024, from a file in memory",
            f"**{_rate(paper['after']['rows'], SECOND_HALF)} images/s**",
        ],
    ]
    return rows_of("one H200 | result", rows)


def gpu_rate() -> str:
    """Say how fast one H200 trains the paper's network."""
    rows = read("paper_network-h200")["after"]["rows"]
    second = _kept(rows, SECOND_HALF)
    least, most = (f"{round(value, -2):,.0f}" for value in (min(second), max(second)))
    mfu = median(row["mfu"] for row in rows if row["step"] > 40 and row["step"] % 40 == 0)
    return (
        f"**{_rate(rows, SECOND_HALF)} images/s** ({least} to {most}) in the second half of each epoch of 40 steps, "
        f"{_rate(rows, FIRST_HALF)} in the first, which waits for its first batches ([JSON](benchmarks/paper_network-h200.json) with the "
        f"command and all runs below). mfu is {mfu:.2f}.\n"
    )


def gpu_rates() -> str:
    """Return the rate of one H200 before and after the paper's layers were fused and steps replayed."""
    found = read("paper_network-h200")
    before, after = found["before"], found["after"]
    launched, device, larger = after["not_replayed"], "images_on_the_device", "batch_2048_images_on_the_device"
    rows = [
        [
            "photographs, 1,024",
            *(_rate(rows, SECOND_HALF) for rows in (before["rows"], launched["rows"])),
            f"**{_rate(after['rows'], SECOND_HALF)}**",
        ],
        ["images on the device, 1,024", *(_rate(part[device], STEADY) for part in (before, launched)), ""],
        ["images on the device, 2,048", *(_rate(part[larger], STEADY, 20) for part in (before, launched)), ""],
        ["`train.compile`, images on the device, 1,024", _rate(before[f"train.compile_{device}"], STEADY), "", ""],
    ]
    return rows_of("images/s, batch | before | in one pass, each step launched | and replayed", rows)


def _kept(rows: list[dict[str, Any]], part: tuple[int, int], after: int = 40) -> list[float]:
    """Return the images/s of the rows of `part`, once the first steps are over."""
    return [row["images_per_second"] for row in rows if row["step"] > after and row["step"] % part[0] == part[1]]


def _rate(rows: list[dict[str, Any]], part: tuple[int, int], after: int = 40) -> str:
    """Format the median of these rates, to the hundred."""
    return f"{round(median(_kept(rows, part, after)), -2):,.0f}"


def gpu_parts() -> str:
    """Return the GPU's milliseconds of each part of a step, before and after, without the images' crops."""
    found = read("paper_network-h200")
    both = [one["profile_ms"] for one in (found["before"], found["after"]["not_replayed"])]
    columns = [
        [sum(ms for name, ms in one.items() if name.split()[-1].startswith(parts) or name.startswith(parts)) for one in both]
        for parts in PARTS.values()
    ]
    columns.append([sum(column) for column in zip(*columns, strict=True)])
    return rows_of(
        "part | before | after", [[name, *(number(ms) for ms in each)] for name, each in zip((*PARTS, "all"), columns, strict=True)]
    )
