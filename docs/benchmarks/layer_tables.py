"""Where a step's time goes: layers on a CPU, parts on a GPU, and how the whole rate of one GPU follows."""

from statistics import median
from typing import Any

from table_words import number, read, rows_of

BF16, FP32 = "layers-2core-epyc", "layers-2core-epyc-avx2"
PARTS = {
    "convolutions, before with their biases": ("conv",),
    "LRN, ReLU and pooling, after with the biases": ("after", "activation"),
    "fully connected layers and dropout": ("fc", "drop"),
    "optimizer, the rest": ("optimizer", "other"),
}
"""Of a GPU's step, by what the names of layers start with."""


def step() -> str:
    """Return the time of a traced step on a CPU and the limits that were measured at its start."""
    one, two = read(BF16), read(FP32)
    rows = [
        [
            f"EPYC with bf16, one process of two threads, {one['date']} ([JSON](benchmarks/{BF16}.json))",
            f"{one['step_ms']['traced']} traced, {one['step_ms']['untraced']} without: {one['images_per_second']} images/s",
            f"{one['matmul_peak_gflops']} GFLOP/s",
        ]
    ]
    places = {"one process": f"EPYC without bf16, fp32, one process, {two['date']} ([JSON](benchmarks/{FP32}.json))"}
    for name, limit in (("one process", "one process"), ("two columns", "each of two columns")):
        limits = two["limits"][limit]
        each = " each" if limit.startswith("each") else ""
        speeds = f"{limits['gflops']} GFLOP/s, {limits['gb_per_second']} GB/s{each}"
        rows.append([places.get(name, f"the same, {name}"), f"{two['step_ms'][name]:,} traced", speeds])
    return rows_of("machine, date | step, ms | limits measured at the start", rows)


def layers() -> str:
    """Return what share of their limits the layers reach on a CPU."""
    fp32 = read(FP32)["layers"]
    files = (
        (read(BF16)["layers"], "{}_percent_of_matmul_peak"),
        (fp32, "one_process_{}_percent_of_limit"),
        (fp32, "column_{}_percent_of_limit"),
    )
    rows = []
    for words, names in (
        ("conv1", ("conv1",)),
        ("conv2 to conv5", ("conv2", "conv3", "conv4", "conv5")),
        ("fc6 to fc8", ("fc6", "fc7", "fc8")),
        ("LRN, its ReLU and pooling", ("LRN", "the same")),
        ("optimizer", ("optimizer",)),
    ):
        cells = []
        for found, key in files:
            kept = [row for row in found if row["layer"].startswith(names)]
            both = (_range([row[key.format(way)] for row in kept if key.format(way) in row]) for way in ("forward", "backward"))
            took = sum(row.get(f"{way}_ms", 0) for row in kept for way in ("forward", "backward"))
            cells.append(" / ".join(part for part in both if part) or f"({took:.0f} ms)")
        rows.append([words, *cells])
    return rows_of("share of the limit, forward / backward, % | bf16, one process | fp32, one process | fp32, a column", rows)


def _range(values: list[float]) -> str:
    """Format the least and the most of some percentages."""
    return "–".join(sorted({f"{value:.0f}" for value in (min(values), max(values))}, key=float)) if values else ""


def linear() -> str:
    """Return the time of fc6's products beside those of their arithmetic and their memory."""
    found, rows = read("linear-2core-xeon"), []
    for row in found["rows"]:
        if row["batch"] in (0, 64, 128, 1024):
            parts = row["arithmetic_ms"], row["memory_ms"]
            shares = [f"{100 * part / row['ms']:.0f}" for part in (max(parts), sum(parts))]
            words = [row["precision"], str(row["batch"] or ""), row["product"]]
            rows.append([*words, *(f"{value:.1f}" for value in (*parts, row["ms"])), *shares])
    return rows_of(
        "precision | batch | product | arithmetic, ms | memory, ms | measured, ms | the longer ÷ measured, % | their sum ÷ measured, %",
        rows,
    )


def lrn() -> str:
    """Return how much faster than torch's layer ours is on each machine, over sizes and precisions."""
    rows = []
    for file, machine in (
        ("lrn-2core-epyc", "EPYC with bf16, two threads"),
        ("lrn-2core-epyc-avx2", "EPYC without bf16, two threads"),
        ("lrn-2core-xeon", "Xeon with AMX, two threads"),
        ("lrn-h200", "one H200"),
    ):
        found = read(file)
        ratios = [row["ratio"]["median"] for row in found["rows"] if row.get("layout", "channels-last") == "channels-last"]
        below = sum(ratio < 10 for ratio in ratios)
        words = f"{min(ratios):.1f} to {max(ratios):.1f} ×" + (f", **below ten in {below} of {len(ratios)} cases**" if below else "")
        rows.append([machine, found["date"], f"`{found['command']}` ([JSON](benchmarks/{file}.json))", words])
    return rows_of("machine | date | command | ratio", rows)


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


SECOND_HALF, FIRST_HALF, STEADY = (40, 0), (40, 20), (20, 0)
"""Of the rows of a run, printed every 20 steps: those that end so many steps after a multiple of 40, an epoch; all of them."""


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
