"""Runs of many devices and hours: links, predictions, faults."""

from table_words import number, read, rows_of


def hosts() -> str:
    """Return images/s of each mode over links of each speed, with the planner's predictions."""
    rows = []
    for file, rate in (("10gbit", "10 Gb/s"), ("1gbit", "1 Gb/s"), ("100mbit", "100 Mb/s")):
        for one in read(f"hosts-{file}-2core-xeon")["summary"]:
            modes = one["modes"]
            found = [modes.get(mode) for mode in ("none", "data", "model", "owt")]
            cells = [f"{number(one['images_per_second']['median'])} ({number(one['predicted'])})" if one else "" for one in found]
            lead = one["columns_to_data"]
            rows.append([f"{rate}, {one['batch']}", *cells, f"**{number(lead)}**" if lead > 4 else number(lead)])
    return rows_of("link, batch | one process | DDP | two columns | One Weird Trick | columns ÷ DDP", rows)


def same_run() -> str:
    """Return how far losses and weights of every mode are from those of one process, for the paper's network."""
    found = read("modes-paper-2core-epyc")
    rows = [["`none`, 1", " ".join(f"{loss:.7f}" for loss in found["runs"][0]["losses"][:3]), "", "", "0"]]
    for run in found["runs"][1:]:
        losses = " ".join(f"{loss:.7f}" for loss in run["losses"][:3])
        within = [f"{run[key]:.1e}" for key in ("loss_difference", "weight_difference")]
        rows.append([f"`{run['parallel']}`, {run['processes']}", losses, *within, f"{run['comm_bytes'] / 1e6:.1f} MB"])
    head = "mode, processes | losses of the first three steps | all six within | weights within | a process sends in the first step"
    return rows_of(head, rows)


def own_networks() -> str:
    """Return the losses of networks of one's own in each mode."""
    files = {"net": "`net.py:build`", "resnet18": "`torchvision:resnet18`", "two": "`two.py:build`"}
    found = {file: {(run["parallel"], run["processes"]): run for run in read(f"modes-{file}-2core-epyc")["runs"]} for file in files}
    rows = []
    for mode, processes in dict.fromkeys(key for file in ("net", "two") for key in found[file]):
        runs = [found[file].get((mode, processes)) for file in files]
        cells = [" ".join(f"{loss:.7f}" for loss in run["losses"][:3]) if run else "" for run in runs]
        rows.append([f"{processes}, `{mode}`" if processes > 1 else "1", *cells])
    most = [f"{max(run['loss_difference'] for run in found[file].values()):.1e}" for file in files]
    return rows_of(f"processes | {' | '.join(files.values())}", [*rows, ["all six steps within, relative", *most]])


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


def predicted() -> str:
    """Say how near the planner comes to runs that were trained on this machine."""
    rows = read("plan-2core-xeon")["rows"]
    over = [100 * (row["predicted_images_per_second"] / row["trained_images_per_second"] - 1) for row in rows]
    said = {}
    for batch in sorted({row["batch"] for row in rows}):
        kept = sorted((row for row in rows if row["batch"] == batch), key=lambda row: -row["predicted_images_per_second"])
        said[batch] = ", ".join(
            f"`{row['parallel']}` {row['predicted_images_per_second']} against {row['trained_images_per_second']}" for row in kept
        )
    batches = "; at batch ".join(f"{batch} {words}" for batch, words in said.items())
    return (
        "Predicted against trained images/s, the paper's network in bf16 on two cores of an Intel Xeon (AMX), shared, "
        f"{read('plan-2core-xeon')['date']} ([JSON](benchmarks/plan-2core-xeon.json), commands inside): at batch {batches}. Predictions "
        f"are {min(over):.0f} to {max(over):.0f} % too high, as they leave out the loader, dropout's keys, the loss and copies between "
        "layers.\n"
    )


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
