"""Write what was measured into README.md and docs/, from the JSON files in this folder: `python docs/benchmarks/tables.py`.

A table, or a sentence, stands between `<!-- table: NAME -->` and `<!-- end -->`, and NAME is a function below. With `--check` nothing is
written, and the exit status is 1 where a page says something else than its files.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from distalex.bench.accuracy import TUTORIAL
from distalex.bench.paper_claims import BASELINE, CLAIMS, FIGURE1, MARKS, direction

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
ALL = "all-2core-xeon"
"""The file that the README's figure is drawn from."""


def read(name: str) -> dict[str, Any]:
    """Return what a benchmark left."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def number(value: float) -> str:
    """Format a rate or a time with about three digits."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def ranged(found: dict[str, float], digits: int = 2) -> str:
    """Format a median with the range of its repeats."""
    return f"{found['median']:.{digits}f} ({found['min']:.{digits}f} to {found['max']:.{digits}f})"


def rows_of(head: str, rows: list[list[str]]) -> str:
    """Format a table of Markdown, whose head is given as `a | b`."""
    titles = head.split(" | ")
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measured() -> str:
    """Return distalex and its peers on the machine of the README's figure."""
    words = {
        "the tutorial's job": ("a tutorial's CIFAR-10 job at 96×96, whole steps", "plain"),
        "two columns, batch 64": ("the paper's network in two columns, 224×224, batch 64", "parallel --batches=64"),
        "loading, raw": ("ImageNet photographs to network input, stored raw", "loader --root=DIR"),
        "loading, JPEG": ("the same, stored as JPEG", "loader --root=DIR --encoding=jpg"),
    }
    rows = []
    found = read(ALL)
    for row in found["rows"]:
        name, unit = row["name"], row["unit"]
        if name in words:
            what, command = words[name]
        elif name.startswith("to "):
            what, command = f"{name.removeprefix('to ')}, process start to end", "accuracy"
        else:
            continue
        ratio = f"**{number(row['ratio'])} ×**"
        peer = f"{number(row['peer'])}, {row['peers_name']}"
        if command == "accuracy":
            peer = f"{number(row['peer'])} s: the tutorial's 20 epochs at 96×96, computed from ordinary PyTorch's rate"
        ours = f"{number(row['distalex'])} {unit}"
        rows.append([what, ours, peer, ratio, f"`bench {command}`"])
    ratios = [row["ratio"] for row in found["rows"] if row["name"].startswith("LRN")]
    rows.insert(1, ["local response normalisation, six cases", "", "torch", f"{min(ratios):.0f} to {max(ratios):.0f} ×", "`bench lrn`"])
    return rows_of("two cores of a Xeon with AMX | distalex | peer | ratio | command", rows)


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
        ["the paper's network, 224×224, bf16, batch 1,024, from a file in memory", f"**{images_a_second(paper):,.0f} images/s**"],
    ]
    return rows_of("one H200 | result", rows)


def images_a_second(paper: dict[str, Any]) -> float:
    """Return the median rate of the paper's network in the second half of its epochs, which does not wait for first batches."""
    rates = [row["images_per_second"] for row in paper["after"]["rows"] if row["step"] > 40 and row["step"] % 40 == 0]
    return round(median(rates), -2)


def columns() -> str:
    """Return images/s of each mode at each batch, on each machine."""
    rows = []
    for file, machine in (
        ("parallel-2core-xeon", "Xeon, bf16"),
        ("parallel-2core-xeon-2026-11-27", "a slower Xeon, bf16"),
        ("parallel-2core-epyc-avx2", "EPYC, fp32"),
    ):
        for one in read(file)["batches"]:
            rates = [f"{one['modes'][mode]['images_per_second']['median']:.1f}" if mode in one["modes"] else "" for mode in MODES]
            rows.append([machine, str(one["batch"]), *rates, *(ranged(one[f"columns_to_{mode}"]) for mode in ("data", "none"))])
            machine = ""
    return rows_of("machine, precision | batch | `none` | `data` | `model` | `owt` | `model` ÷ `data` | `model` ÷ `none`", rows)


def small_batches() -> str:
    """Return the time of a step at few images."""
    rows = []
    for one in read("parallel-small-2core-xeon")["batches"]:
        modes = {mode: one["modes"][mode]["images_per_second"]["median"] for mode in ("none", "model", "data")}
        cells = [f"{1000 * one['batch'] / rate:.0f}" for rate in modes.values()]
        rows.append([str(one["batch"]), *cells, *(ranged(one[f"columns_to_{mode}"]) for mode in ("data", "none"))])
    return rows_of("batch | one process, ms | two columns | DDP | columns ÷ DDP | columns ÷ one process", rows)


MODES = ("none", "data", "model", "owt")


def tutorial() -> str:
    """Return images/s of the tutorial's job on each machine."""
    rows = []
    for file, machine in (
        ("plain-2core-xeon-2026-11-27", "Xeon with AMX, bf16"),
        ("plain-2core-xeon", "another Xeon with AMX, bf16, against `plain_recipe.py`"),
        ("plain-2core-epyc", "EPYC with bf16"),
    ):
        found = read(file)
        ours, peer = (f"{found[f'{name}_images_per_second']['median']:,.0f}" for name in ("distalex", "plain"))
        share = f"{100 * found.get('share_of_peak', found.get('share_of_bf16_peak')):.0f} %"
        rows.append([machine, found["date"], ours, peer, f"{ranged(found['ratio'])} ×", share, f"[JSON](benchmarks/{file}.json)"])
    row = read("all-2core-epyc-avx2")["rows"][0]
    rows.append(
        [
            "EPYC without bf16, fp32",
            read("all-2core-epyc-avx2")["date"],
            *(f"{row[key]:,.0f}" for key in ("distalex", "peer")),
            f"{row['ratio']:.2f} ×, one repeat",
            "",
            "[JSON](benchmarks/all-2core-epyc-avx2.json)",
        ]
    )
    return rows_of("machine | date | distalex, images/s | PyTorch | ratio (range) | of the matmul peak | file", rows)


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
        top1 = ranged(found["top1"]).removesuffix(")") + f", σ {deviation:.2f})" if deviation else f"{runs[0]['top1']:.2f}"
        seeds = f"seeds 0 to {len(runs) - 1}" if len(runs) > 1 else "seed 0"
        trained = [run["train_top1"] for run in runs if "train_top1" in run]
        rows.append(
            [
                f"`{config}`, {seeds} ([JSON](benchmarks/{file}.json))",
                pixels,
                top1,
                f"{median(trained):.1f}" if trained else "",
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
    return rows_of("config | pixels | test top-1, % | training top-1, % | time, process start to end | machine, date", rows)


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
    rows.append(["`cifar10_best`", "fifty epochs, for a GPU", top1, f"{seconds:.0f} s, one H200"])
    return rows_of("config | what | test top-1, %: mean and deviation of three seeds | process start to end, images prepared before", rows)


def tutorials_run() -> str:
    """Say how long the tutorial's whole job took, beside ordinary PyTorch's rate."""
    found = read("accuracy-seed-2core-xeon")
    rate, seconds = found["plain_images_per_second"]["median"], found["seconds"]["median"]
    last = read("plain_recipe-lossless-2core-xeon")["epochs"][-1]
    plain, ours = last["plain"], last["distalex"]
    return (
        f"The whole job, with its start and an evaluation after each epoch, took {seconds:,.0f} s; ordinary PyTorch's {rate:.0f} images/s "
        f"would train for {found['plain_seconds_of_20_epochs']:,.0f} s, {found['sooner']['median']:.1f} times as long. After epoch "
        f"{last['epoch']}, where the plain recipe was stopped, it has {plain['top1']:.1f} % of the test images and "
        f"{plain['train_top1']:.1f} of the training images, distalex {ours['top1']:.1f} and {ours['train_top1']:.1f} "
        f"([JSON](benchmarks/plain_recipe-lossless-2core-xeon.json)).\n"
    )


def minutes(seconds: dict[str, float]) -> str:
    """Format a spread of seconds, in minutes where it is long."""
    if seconds["median"] < 180:
        return f"{ranged(seconds, 0)} s"
    found = {name: value / 60 for name, value in seconds.items()}
    return f"{ranged(found, 1)} min" if found["min"] < found["max"] else f"{found['median']:.1f} min"


FAST = "accuracy-lossless-2core-xeon"


def sooner() -> str:
    """Say how much sooner than the plain recipe `cifar10_fast` is there."""
    found = read(FAST)
    plain = found["plain_images_per_second"]
    return (
        f"At the {plain['median']:.0f} images/s ({plain['min']:.0f} to {plain['max']:.0f}) that ordinary PyTorch trained at beside these "
        f"runs, the recipe's 20 epochs for {found['tutorial']['top1']} % would take {found['plain_seconds_of_20_epochs']:,.0f} s: "
        f"`cifar10_fast` gets past that **{ranged(found['sooner'], 0)} times sooner**.\n"
    )


PAPER = "paper-2core-xeon"


def signed(value: float, digits: int = 1) -> str:
    """Format a difference with a minus of its own width."""
    return f"{value:+.{digits}f}".replace("-", "−")


def with_seeds(found: dict[str, Any]) -> str:
    """Format a mean with its standard error and each seed's difference."""
    each = ", ".join(signed(value) for value in found["differences"])
    return f"{signed(found['mean'], 2)} ± {found['error']:.2f} ({each})"


def mean_of(runs: list[dict[str, Any]], key: str) -> str:
    """Format a mean over seeds with their standard deviation."""
    values = [run[key] for run in runs]
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


def ablations() -> str:
    """Return what each change to the paper's network and training brings."""
    found = read(PAPER)
    base = found["runs"][BASELINE]
    losses = [run["loss"] for run in base]
    rows = [[f"`paper/{BASELINE}`", "", "", mean_of(base, "top1"), "", "", f"{mean(losses):.2f}", mean_of(base, "train_top1")]]
    for name, claim in CLAIMS.items():
        runs, change = found["runs"][name], found["ablations"][name]["top1"]
        said = direction(change, claim.sign)
        said = f"**{said}**" if said == "the other" else said
        words = [f"`paper/{name}`: {claim.change}", claim.section, claim.paper, mean_of(runs, "top1")]
        loss = found["ablations"][name]["loss"]
        rows.append([*words, with_seeds(change), said, f"{signed(loss['mean'], 2)} ± {loss['error']:.2f}", mean_of(runs, "train_top1")])
    return rows_of(
        "`--config=` | section | the paper, points | test top-1, % | points (each seed) | direction | test loss, then differences "
        "| training top-1, %",
        rows,
    )


def depth() -> str:
    """Say what conv3 and conv4 bring with all training images."""
    found = read("paper-depth-2core-xeon")
    top1, trained = ([mean_of(runs, key) for runs in found["runs"].values()] for key in ("top1", "train_top1"))
    parts = [f"without {name.removeprefix('no_')} {with_seeds(one['top1'])}" for name, one in found["ablations"].items()]
    return (
        f"With all 50,000 images for ten epochs ([JSON](benchmarks/paper-depth-2core-xeon.json)) the baseline has {top1[0]} %, "
        f"{', '.join(parts)} points; of the training images it has {trained[0]} %, they have {' and '.join(trained[1:])} %.\n"
    )


def figure1() -> str:
    """Return the epochs that ReLU and tanh need to Figure 1's training error."""
    found, rows = read(PAPER), []
    for kind, name in FIGURE1.items():
        runs, curves = found["figure1"][kind], [run["train_curve"] for run in found["runs"][name]]
        reached = [", ".join("—" if run[str(mark)] is None else str(run[str(mark)]) for run in runs) for mark in MARKS]
        most = ", ".join(f"{max(curve):.0f}" for curve in curves)
        rows.append(["ReLU" if kind == "relu" else kind, *reached, f"{most} % in {len(curves[0])}"])
    return rows_of("epochs to a training top-1 of | 50 % | 60 % | 75 %: Figure 1's 25 % error | at most", rows)


def columns_colour() -> str:
    """Return how much of the first filters is colour in each column over training."""
    runs = read(PAPER)["runs"][BASELINE]
    epochs = [*runs[0]["colour"]["by_epoch"]]
    chosen = [epochs[place] for place in (0, len(epochs) // 3, 2 * len(epochs) // 3, len(epochs) - 1)]
    rows = []
    for run in runs:
        shares = run["colour"]["by_epoch"]
        cells = [" and ".join(f"{100 * share:.0f}" for share in shares[epoch]) for epoch in chosen]
        rows.append([str(run["seed"]), *cells, f"{100 * run['colour']['halves']:.0f}"])
    heads = [f"epoch {epoch}" for epoch in chosen]
    return rows_of(" | ".join(["seed", *heads, "σ of random halves"]), rows)


def ten_views() -> str:
    """Return the gain of ten views, in words."""
    found = read(PAPER)
    runs = found["runs"][BASELINE]
    one, ten = (f"{mean(values):.1f}" for values in ([run["top1"] for run in runs], [run["ten_views"]["top1"] for run in runs]))
    gain = f"{one} to {ten} % top-1, {with_seeds(found['ten_views'])} points"
    return f"Ten views against one (Sections 4.1 and 6; 39.0 to 37.5 % error on ILSVRC-2010): {gain}.\n"


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


def loading() -> str:
    """Return images/s of each loader on two data sets."""
    names = {
        "ffcv_raw": "FFCV, raw",
        "distalex_raw": "distalex, raw",
        "ffcv_jpg": "FFCV, JPEG",
        "distalex_jpg": "distalex, JPEG",
        "input_raw": "distalex, raw",
        "input_jpg": "distalex, JPEG",
        "dataloader_original": "torchvision's DataLoader, original files",
    }
    parts = {"ffcv_raw": "uint8 batches of stored images", "input_raw": "network input: crop, flip, normalised, bf16"}
    found, rows = [read(f"loader-{data}-2core-epyc") for data in ("imagenet", "cifar10")], []
    for name, words in names.items():
        if name in parts:
            rows.append([f"*{parts[name]}*", "", ""])
        rows.append([words, *(f"{one['sides'][name]['images_per_second']['median']:,.0f}" for one in found)])
    sets = (
        f"{one['images']['count']:,} {what}"
        for one, what in zip(found, ("ImageNet photographs, 256 → 224", "of CIFAR-10, 32 → 96"), strict=True)
    )
    return rows_of(" | ".join(["loader", *sets]), rows)


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


def loading_ratios() -> str:
    """Say how many times the DataLoader's speed loading has, and how much more time than FFCV's our reader takes."""
    found = [read(f"loader-{data}-2core-epyc") for data in ("imagenet", "cifar10")]
    xeon = [read(f"loader-imagenet-{kind}-2core-xeon")["speedup"]["median"] for kind in ("raw", "jpeg")]
    raw, jpg = ([ranged(one["ratios"][f"input_{kind}"]["dataloader_original"], 1) for one in found] for kind in ("raw", "jpg"))
    more = [[one["overhead_percent"][kind] for one in found] for kind in ("raw", "jpg")]
    goals = found[0]["goals"]
    percent = [[f"{signed(ours['median'], 0)} ({signed(ours['min'], 0)} to {signed(ours['max'], 0)})" for ours in each] for each in more]
    missed = found[1]["ratios"]["input_raw"]["dataloader_original"]["median"] < goals["input_raw"]
    aim = f"{'**where the aim' if missed else 'where the aim'} of {goals['input_raw']:.0f} was {'missed**' if missed else 'met'}"
    return (
        f"Within each repeat, raw loading is {raw[0]} times the DataLoader on the original ImageNet files and {raw[1]} times on CIFAR-10, "
        f"{aim}: nine tenths of its input is resizing, and its originals have the stored size. JPEG is {jpg[0]} and {jpg[1]} times; "
        f"the aim was {goals['input_jpg']:.0f}. Our reader's time beside FFCV's: {percent[0][0]} % and {percent[0][1]} % raw, "
        f"{percent[1][0]} % and {percent[1][1]} % for JPEG; the aim was below "
        f"{goals['overhead_percent']:.0f} %.\n\nTwo cores of a Xeon, network input of ImageNet alone: {xeon[0]:.1f} times the DataLoader "
        f"raw and {xeon[1]:.1f} times from JPEG.\n"
    )


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


def hosts() -> str:
    """Return images/s of each mode over links of each speed, with the planner's predictions."""
    rows = []
    for file, rate in (("10gbit", "10 Gb/s"), ("1gbit", "1 Gb/s"), ("100mbit", "100 Mb/s")):
        for one in read(f"hosts-{file}-2core-xeon")["summary"]:
            modes = one["modes"]
            found = [modes.get(mode) for mode in MODES]
            cells = [f"{figures(one['images_per_second']['median'])} ({figures(one['predicted'])})" if one else "" for one in found]
            lead = one["columns_to_data"]
            words = f"{lead:.{2 if lead < 1 else 1 if lead < 10 else 0}f}"
            rows.append([f"{rate}, {one['batch']}", *cells, f"**{words}**" if lead > 4 else words])
    return rows_of("link, batch | one process | DDP | two columns | One Weird Trick | columns ÷ DDP", rows)


def figures(rate: float) -> str:
    """Format a rate with three digits, two where it is small."""
    return f"{rate:.{0 if rate >= 100 else 1}f}"


def curve() -> str:
    """Return the planner's images/s from one to 1,024 A100s."""
    found, rows = read("curve-a100"), []
    fixed, each = found["batch_4096"], found["batch_512_per_device"]
    for devices in ("1", "8", "32", "64", "128", "1024"):
        modes = ("data", "hybrid", "owt")
        share = max(fixed[mode].get(devices, 0) for mode in modes) / int(devices) / fixed["data"]["1"]
        cells = [[f"{one[mode][devices]:,}" if devices in one[mode] else "" for mode in modes] for one in (fixed, each)]
        rows.append([f"{int(devices):,}", *cells[0], f"{100 * share:.0f} %", *cells[1]])
    return rows_of("devices | 4,096 per step: data | hybrid | owt | best ÷ linear | 512 per device: data | hybrid | owt", rows)


def faults() -> str:
    """Return what became of runs that were struck at random, by fault."""
    rows = []
    for file in ("faults-2core-epyc-avx2", "faults-inside-2core-xeon"):
        found = read(file)
        equal = sum(not run["problems"] for run in found["runs"])
        rows.append([f"**{equal} of {len(found['runs'])} runs bit-identical** ([JSON](benchmarks/{file}.json))", "", "", ""])
        for name, one in found["faults"].items():
            endless = sum("ended with -1" in line for line in one["wrong"])
            most = f"**{endless} without end**" if endless else f"{one['seconds']['max']:.1f}"
            seconds = "" if name.startswith("data") else f"{one['seconds']['median']:.1f} ({most})"
            rows.append([name.removeprefix("inside: "), str(one["count"]), seconds, f"{one['steps_lost']['max']:.0f}"])
    return rows_of("fault | times | seconds until every process ended, median (most) | steps repeated, at most", rows)


def soak() -> str:
    """Say what an hour of training kept and used."""
    found = read("soak-2core-epyc-avx2")
    memory, threads, files, disk = (found["measures"][name] for name in ("memory", "threads", "handles", "disk"))
    return (
        f"{found['steps']:,} steps with {found['evaluations']:,} evaluations and checkpoints in {found['minutes']:.0f} minutes; memory "
        f"{memory['first_quarter']:.0f} MB in the first quarter, {memory['last_quarter']:.0f} in the last; {threads['least']} to "
        f"{threads['most']} threads, {files['least']} or {files['most']} open files, {disk['last_quarter']:.0f} MB of checkpoints, "
        f"{disk['most']:.0f} at most "
        f"([JSON](benchmarks/soak-2core-epyc-avx2.json)).\n"
    )


def initial_losses() -> str:
    """Return the paper's network's mean loss over the first steps, by image size."""
    rows = [row for row in read("initial_weights")["rows"] if row["size"] in (64, 128, 224)]
    steps = ("steps 1–10", "31–40", "51–60")
    return rows_of(
        " | ".join(["size", *steps]), [[str(row["size"]), *(f"{row[name]:.3f}" if name in row else "" for name in steps)] for row in rows]
    )


def gpu_rate() -> str:
    """Say how fast one H200 trains the paper's network."""
    rows = [row for row in read("paper_network-h200")["after"]["rows"] if row["step"] > 40]
    second, first = ([row["images_per_second"] for row in rows if (row["step"] % 40 == 0) is half] for half in (True, False))
    words = [f"{round(value, -2):,.0f}" for value in (median(second), min(second), max(second), median(first))]
    mfu = median(row["mfu"] for row in rows if row["step"] % 40 == 0)
    return (
        f"**{words[0]} images/s** ({words[1]} to {words[2]}) in the second half of each epoch of 40 steps, {words[3]} in the first, which "
        f"waits for its first batches ([JSON](benchmarks/paper_network-h200.json) with the command and all runs below). mfu is {mfu:.2f}.\n"
    )


def processors() -> str:
    """Say how the ratio of the tutorial's job depends on the processor."""
    others = read("plain-2core-epyc")["ratio"]["median"], read("all-2core-epyc-avx2")["rows"][0]["ratio"]
    return (
        f"Ratios belong to the processor: an EPYC with bf16 runs the tutorial's job {others[0]:.1f} × as fast as ordinary PyTorch, one "
        f"without {others[1]:.1f} × ([performance.md](docs/performance.md#the-tutorials-job)).\n"
    )


TABLES: dict[str, Callable[[], str]] = {
    "measured": measured,
    "on_a_gpu": on_a_gpu,
    "columns": columns,
    "small_batches": small_batches,
    "tutorial": tutorial,
    "cifar10": cifar10,
    "accuracies": accuracies,
    "tutorials_run": tutorials_run,
    "sooner": sooner,
    "ablations": ablations,
    "depth": depth,
    "figure1": figure1,
    "columns_colour": columns_colour,
    "ten_views": ten_views,
    "fine_tuning": fine_tuning,
    "loading": loading,
    "loading_ratios": loading_ratios,
    "lrn": lrn,
    "linear": linear,
    "hosts": hosts,
    "curve": curve,
    "faults": faults,
    "soak": soak,
    "initial_losses": initial_losses,
    "gpu_rate": gpu_rate,
    "processors": processors,
}


def main() -> int:
    """Write the tables, or compare them with `--check`. Returns the exit status."""
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        written = PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n{place[3]}", text)
        if written != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(written, encoding="utf-8")
    if stale:
        print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
