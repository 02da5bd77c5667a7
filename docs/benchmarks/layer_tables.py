"""Where a step's time goes on a CPU, and single layers beside PyTorch's and beside the machine's limits."""

from table_words import read, rows_of

BF16, FP32 = "layers-2core-epyc", "layers-2core-epyc-avx2"


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
