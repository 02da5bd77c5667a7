"""The paper's claims."""

from statistics import mean

from table_words import mean_of, read, rows_of, signed, with_seeds

from distalex.bench.paper_claims import BASELINE, CLAIMS, FIGURE1, MARKS, direction

PAPER = "paper-2core-xeon"


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
