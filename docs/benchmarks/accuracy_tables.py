"""Accuracies of the CIFAR-10 configs, what weights of another run bring, and losses of the first steps."""

from statistics import mean, median, stdev

from table_words import minutes, ranged, read, rows_of, signed

from distalex.bench.accuracy import TUTORIAL

FAST = "accuracy-lossless-2core-xeon"
WHOLE = "train_top1_without_dropout"


def cifar10() -> str:
    """Return accuracy and time of each config on CIFAR-10."""
    best, rows, xeon = read("cifar10_best-h200"), [], "two cores of a Xeon with AMX"
    for config, file, pixels, machine in (
        ("cifar10_fast", FAST, "lossless", xeon),
        ("cifar10_fast", "accuracy-2core-epyc-avx2", "JPEG copies, its network until then", "two cores of an EPYC without bf16"),
        ("cifar10_hour", "accuracy-hour-2core-xeon", "lossless", xeon),
        ("seed_cifar10", "accuracy-seed-2core-xeon", "lossless", xeon),
    ):
        found = read(file)
        runs, deviation = found["runs"], found["top1_standard_deviation"]
        tops = [run["top1"] for run in runs]
        top1 = f"{mean(tops):.2f} ({min(tops):.2f} to {max(tops):.2f}; σ {deviation:.2f})" if deviation else f"{tops[0]:.2f}"
        seeds = f"seeds 0 to {len(runs) - 1}" if len(runs) > 1 else "seed 0"
        trained = [run["train_top1"] for run in runs if "train_top1" in run]
        rows.append(
            [
                f"`{config}`, {seeds} ([JSON](benchmarks/{file}.json))",
                pixels,
                top1,
                f"{mean(trained):.1f}" if trained else "",
                f"{minutes(found['seconds'])}, the file prepared before ({found['preparing_seconds']:.0f} s)",
                f"{machine}, {found['date']}",
            ]
        )
    seeds = best["seeds"]
    rows.append(
        [
            "`cifar10_best`, seeds 0 to 2 ([JSON](benchmarks/cifar10_best-h200.json))",
            "lossless",
            f"**{best['top1_mean']:.2f}** ({', '.join(str(seed['top1']) for seed in seeds)}; σ {best['top1_standard_deviation']:.2f})",
            "",
            f"{seeds[1]['seconds_from_start_to_end']} and {seeds[2]['seconds_from_start_to_end']} s; the first, "
            f"{seeds[0]['seconds_from_start_to_end']} s, also prepared the file and compiled",
            f"one H200, {best['date']}",
        ]
    )
    return rows_of(
        "config | pixels | test top-1, %: mean (range; deviation) | training top-1, % | time, process start to end | machine, date",
        rows,
    )


def accuracies() -> str:
    """Return the accuracy of each config and what it takes, in short."""
    rows = []
    for config, file, what in (
        ("cifar10_fast", FAST, "one epoch"),
        ("cifar10_hour", "accuracy-hour-2core-xeon", "twelve epochs"),
        ("seed_cifar10", "accuracy-seed-2core-xeon", f"a tutorial's job at 96×96, {TUTORIAL['top1']} % there"),
    ):
        found = read(file)
        tops, seconds = [run["top1"] for run in found["runs"]], found["seconds"]["median"]
        top1 = f"{mean(tops):.1f} ± {stdev(tops):.1f}" if len(tops) > 1 else f"{tops[0]:.1f}, one seed"
        took = f"{seconds:.0f} s" if seconds < 180 else f"{seconds / 60:.0f} min"
        rows.append([f"`{config}`", what, top1, f"{took}, two cores of a Xeon with AMX"])
    best = read("cifar10_best-h200")
    seconds = median(seed["seconds_from_start_to_end"] for seed in best["seeds"][1:])
    top1 = f"{best['top1_mean']:.1f} ± {best['top1_standard_deviation']:.1f}"
    rows.append(["`cifar10_best`", "fifty epochs, for a GPU", top1, f"{seconds:.0f} s, one H200, kernels compiled before"])
    return rows_of("config | what | test top-1, %: mean and deviation of three seeds | process start to end, images prepared before", rows)


def tutorials_run() -> str:
    """Say how long the tutorial's whole job took, beside ordinary PyTorch's rate."""
    found = read("accuracy-seed-2core-xeon")
    rate, seconds = found["plain_images_per_second"]["median"], found["seconds"]
    known = [f"{run[WHOLE]:.1f}" for run in found["runs"] if WHOLE in run]
    return (
        f"The whole job, with its start and an evaluation after each epoch, took {seconds['min']:,.0f} and {seconds['max']:,.0f} s (two "
        f"seeds); ordinary PyTorch's {rate:.0f} images/s would train for {found['plain_seconds_of_20_epochs']:,.0f} s, "
        f"{found['sooner']['min']:.1f} to {found['sooner']['max']:.1f} times as long. Without dropout, as one evaluates, the networks of "
        f"seeds 1 and 2 know {' and '.join(known)} % of the training images.\n"
    )


def taken_apart() -> str:
    """Say where the wall clock of `cifar10_fast` goes."""
    found = read("accuracy-parts-2core-xeon")
    before, steps, after = found["parts"].values()
    return (
        f"Of its {ranged(found['seconds'], 1)} s, measured again on {found['date']} ([JSON](benchmarks/accuracy-parts-2core-xeon.json)), "
        f"{before:.1f} pass before the first step, {steps:.1f} in steps and {after:.1f} after the last.\n"
    )


def beside_plain() -> str:
    """Return the tutorial's job epoch by epoch, in ordinary PyTorch and in distalex, each seed."""
    found, rows = read("plain_recipe-lossless-2core-xeon"), []
    for epoch in (1, 2, 3, 5, 7, 10, 13, 15, 20):
        cells = []
        for kind in ("top1", "train_top1"):
            for side in ("plain", "distalex"):
                values = [row[kind] for curve in found[side].values() for row in curve if row["epoch"] == epoch]
                cells.append(", ".join(f"{value:.1f}" for value in values))
        if any(cells):
            rows.append([str(epoch), *cells])
    return rows_of("after epoch | test top-1, %: plain recipe | distalex | training top-1, %: plain recipe | distalex", rows)


def sooner() -> str:
    """Say how much sooner than the plain recipe `cifar10_fast` is there."""
    found = read(FAST)
    plain = found["plain_images_per_second"]
    return (
        f"At the {plain['median']:.0f} images/s ({plain['min']:.0f} to {plain['max']:.0f}) that ordinary PyTorch trained at beside these "
        f"runs, the recipe's 20 epochs for {found['tutorial']['top1']} % would take {found['plain_seconds_of_20_epochs']:,.0f} s: "
        f"`cifar10_fast` gets past that **{ranged(found['sooner'], 0)} times sooner**.\n"
    )


def fine_tuning() -> str:
    """Return what weights of CIFAR-10 bring to photographs, at two numbers of them."""
    rows = []
    for fraction, images in ((1.0, "all 245"), (0.2, "49")):
        found: dict[str, list[float]] = {
            kind: [row["top1"] for row in read("fine_tuning-2core-xeon")["rows"] if (row["from"], row["fraction"]) == (kind, fraction)]
            for kind in ("weights", "scratch")
        }
        gains = [one - other for one, other in zip(*found.values(), strict=True)]
        cells = [f"{mean(tops):.1f} ({', '.join(f'{top:.1f}' for top in tops)})" for tops in found.values()]
        rows.append([images, *cells, f"{signed(mean(gains))} ± {stdev(gains) / len(gains) ** 0.5:.1f}"])
    return rows_of("training photographs | from CIFAR-10, % (each seed) | from scratch | points", rows)


def initial_losses() -> str:
    """Return the paper's network's mean loss over the first steps, by image size."""
    rows = [row for row in read("initial_weights")["rows"] if row["size"] in (64, 128, 224)]
    steps = ("steps 1–10", "31–40", "51–60")
    return rows_of(
        " | ".join(["size", *steps]), [[str(row["size"]), *(f"{row[name]:.3f}" if name in row else "" for name in steps)] for row in rows]
    )
