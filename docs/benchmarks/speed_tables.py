"""Speeds of one machine of two cores: whole steps, loading."""

from table_words import number, ranged, read, rows_of, signed

ALL = "all-2core-xeon"
"""The file that the README's figure is drawn from."""
MODES = ("none", "data", "model", "owt")


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


def processors() -> str:
    """Say how the ratio of the tutorial's job depends on the processor."""
    others = read("plain-2core-epyc")["ratio"]["median"], read("all-2core-epyc-avx2")["rows"][0]["ratio"]
    return (
        f"Ratios belong to the processor: an EPYC with bf16 runs the tutorial's job {others[0]:.1f} × as fast as ordinary PyTorch, one "
        f"without {others[1]:.1f} × ([performance.md](docs/performance.md#the-tutorials-job)).\n"
    )


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


def augmenting() -> str:
    """Return images/s with each augmentation."""
    rows: dict[str, list[str]] = {}
    found = read("augment-2core-xeon")["rows"]
    for row in found:
        name = f"{row['stored']} → {row['size']}"
        rows.setdefault(name, [name]).append(f"{row['images_per_second']['median']:,.0f}")
    cases = dict.fromkeys(f"`{row['case']}`" if row["case"] != "off" else "off" for row in found)
    return rows_of(" | ".join(["stored → input, pixels", *cases]), list(rows.values()))
