"""`bench augment`: images a second that are cropped and augmented, with each of the augmentations on."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from distalex.bench.options import AugmentOptions
from distalex.bench.results import make_result, open_folder, spread, write_result
from distalex.bench.timing import seconds_of
from distalex.config.data import DataConfig
from distalex.console import aligned
from distalex.data.augment.augmentation import Augmentation
from distalex.data.augment.statistics import Statistics
from distalex.parallel.start import start_processes

CASES: dict[str, dict[str, Any]] = {
    "off": {},
    "vertical_flip": {"vertical_flip": True},
    "erase=0.5": {"erase": 0.5},
    "trivial_augment": {"trivial_augment": True},
    "randaugment=2,9": {"randaugment": (2, 9)},
    "jitter=0.4,0.4,0.4,0.1": {"jitter": (0.4, 0.4, 0.4, 0.1)},
}
"""Options of `data` by what is typed. All crop and mirror as `data.augment=flip_crop`."""
SIZES: dict[tuple[int, int], dict[str, Any]] = {
    (32, 64): {"name": "cifar10", "image_size": 64},
    (256, 224): {"name": "imagenet", "root": "DIR", "image_size": 224},
}
"""Options of `data` by stored and network's size, in pixels."""
COLOURS = Statistics((120.0, 115.0, 105.0), ((4000.0, 3500.0, 3000.0), (3500.0, 4000.0, 3500.0), (3000.0, 3500.0, 4500.0)))


def bench_augment(options: AugmentOptions) -> dict[str, Any]:
    """Time a batch with each, in turn, print a table and write OUT/augment-TIME.json."""
    folder, rows = open_folder(options.out), []
    with start_processes("none", device=options.device, threads=options.threads) as mesh:
        for (stored, size), of_set in SIZES.items():
            rates = _measure(stored, of_set, options, mesh.device)
            rows += [{"stored": stored, "size": size, "case": case, "images_per_second": spread(found)} for case, found in rates.items()]
    result = make_result(options, {"device": mesh.device.type, "rows": rows})
    print(_table(rows))
    write_result(result, folder)
    return result


def _measure(stored: int, of_set: dict[str, Any], options: AugmentOptions, device: torch.device) -> dict[str, list[float]]:
    """Images/s of each case in each repeat, from images of `stored` pixels, with the options of `data` that the set has."""
    augmentations = {
        case: Augmentation(DataConfig(**of_set, stored_size=stored, **on), stored, COLOURS, 0, device) for case, on in CASES.items()
    }
    images = torch.randint(0, 256, (options.batch, stored, stored, 3), dtype=torch.uint8, device=device)
    samples = np.arange(options.batch)
    rates: dict[str, list[float]] = {case: [] for case in CASES}
    for epoch in range(options.repeats + 1):
        for case, augmentation in augmentations.items():
            rates[case].append(options.batch / seconds_of(partial(augmentation.train, images, samples, epoch), device))
    return {case: found[1:] for case, found in rates.items()}  # the first compiles


def _table(rows: list[dict[str, Any]]) -> str:
    body = []
    for stored, size in SIZES:
        found = [row["images_per_second"]["median"] for row in rows if (row["stored"], row["size"]) == (stored, size)]
        body.append([f"{stored} → {size}", *(f"{rate:,.0f}" for rate in found)])
    return "\n" + aligned([["images/s", *CASES], *body])
