"""How the CIFAR-10 configs were chosen, on images held out of the training images."""

from typing import Any

from table_words import read, rows_of

HELD_OUT, SECONDS = "top-1, %", "seconds of steps"


def search_first() -> str:
    """Return what the parts and widths of `cifar10_fast` brought on JPEG copies."""
    found = read("cifar10-search")["cifar10_fast"]
    rows = [_marked(row, row["what"], HELD_OUT, SECONDS) for row in found["parts"]["rows"]]
    for row in found["layouts"]["rows"]:
        widths, where, _ = row["widths, kernels, pools"].partition(", in distalex")
        if where and widths != "the same":
            rows.append(_marked(row, f"widths {widths}", HELD_OUT, SECONDS))
    return rows_of(f"what | {HELD_OUT} | steps, s", rows)


def search_lossless() -> str:
    """Return what was tried to give accuracy back for time, on lossless images."""
    rows = []
    for row in read("cifar10-search")["cifar10_fast_lossless"]["rows"]:
        share = row["share of the training images"]
        widths = row["widths"] + (f", {100 * share:.0f} % of the images" if share < 1 else "")
        rows.append([*_marked(row, widths, "batch", "lr", HELD_OUT, SECONDS), row.get("note", "")])
    return rows_of(f"widths, pools | batch | lr | {HELD_OUT} | steps, s | ", rows)


def search_hour() -> str:
    """Return the speeds of the networks that `cifar10_hour` was chosen from."""
    rows = read("cifar10-search")["cifar10_hour_lossless"]["rows"]
    return rows_of(f"widths | images/s | {HELD_OUT}", [_marked(row, row["widths"], "images/s", HELD_OUT) for row in rows])


def search_best() -> str:
    """Return what was tried for `cifar10_best` on a GPU."""
    more = "epochs", "augmentation besides mirror images", HELD_OUT
    rows = read("cifar10-search")["cifar10_best"]["rows"]
    return rows_of(f"network | epochs | augmentation besides flips | {HELD_OUT}", [_marked(row, row["network"], *more) for row in rows])


def _marked(row: dict[str, Any], first: str, *keys: str) -> list[str]:
    """Return `first` and what a row has under `keys`, in bold with the config's name where it was chosen."""
    cells = [f"{value:.1f}" if isinstance(value := row.get(key, ""), float) and key != "lr" else str(value) for key in keys]
    if "chosen" not in row:
        return [first, *cells]
    return [f"**{cell}**" if cell else "" for cell in (f"{first}: {row['chosen']}", *cells)]
