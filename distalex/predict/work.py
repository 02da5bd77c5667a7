"""What a trained network sees in images: labels with probabilities, and a drawing of them."""

from __future__ import annotations

import csv
import glob
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex.config.config import Config
from distalex.console import Console
from distalex.data.files.tree import read_file
from distalex.data.images import is_image, open_image, square
from distalex.errors import UserError
from distalex.files import FIGURE_SUFFIXES
from distalex.machine.resources import cores
from distalex.parallel.mesh import Mesh
from distalex.parallel.start import start_processes
from distalex.predict.drawing import draw_predictions
from distalex.predict.neighbours import Album, hidden, open_album
from distalex.predict.options import PredictOptions
from distalex.predict.predictions import SHOWN, Prediction, predict, some_of
from distalex.runs.trained import Trained, load_trained, open_data_of

Batch = tuple[Tensor, list[str], list[str] | None]
"""Stored images (n, side, side, 3) uint8, their names, and their actual labels where these are known."""
BATCH = 256
DRAWN = 100  # images of a drawing at most


def predict_run(options: PredictOptions) -> list[Prediction]:
    """`python -m distalex.predict RUN [IMAGE …]`. Raises UserError where a named file is no image."""
    if options.save and Path(options.save).suffix.lower() not in FIGURE_SUFFIXES:
        raise UserError(f"save={options.save}: the name of an image to draw is needed, ending in one of {', '.join(FIGURE_SUFFIXES)}")
    console = Console(not (options.json_lines or options.csv))
    names = images_named(options.images)
    found: list[Prediction] = []
    drawn: list[Tensor] = []
    with start_processes(Config(parallel="none", device=options.device)) as mesh:
        trained = load_trained(options.run, options.runs_dir)
        trained.net.to(device=mesh.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches: Iterator[Batch]
        if names:
            batches = read_images(names, trained.state["side"], trained.state.get("resize", "short_side"))
        else:
            batches = iter([pick_test_images(trained, options, mesh, console)])
        album = _album(trained, options, mesh, console) if options.neighbours else None
        writer = csv.writer(sys.stdout)
        if options.csv:
            ranks = range(1, min(SHOWN, len(trained.classes)) + 1)
            nearest = [f"neighbour{place}" for place in range(1, min(options.neighbours, len(album.samples)) + 1)] if album else []
            writer.writerow(["name", "actual", *(f"{kind}{rank}" for rank in ranks for kind in ("label", "probability")), *nearest])
        for images, called, actual in batches:
            predictions = predict(trained, images, called, actual)
            if album is not None:
                places, _ = album.nearest(hidden(trained, trained.views(mesh.device), images), options.neighbours)
                near = [tuple(trained.classes[album.labels[place]] for place in row) for row in places.tolist()]
                predictions = [replace(prediction, neighbours=labels) for prediction, labels in zip(predictions, near, strict=True)]
            for prediction in predictions:
                if options.csv:
                    writer.writerow(prediction.cells())
                else:
                    print(prediction.json() if options.json_lines else prediction.line())
            found += predictions
            if options.save and len(drawn) < DRAWN:
                drawn += list(images.clone())
    if not found:
        raise UserError(f"{' '.join(options.images[:3])}: none of the {len(names)} file(s) is a readable image")
    known = [prediction for prediction in found if prediction.actual]
    if known:
        right = sum(prediction.actual == prediction.labels[0] for prediction in known)
        console.say(f"{right} of {len(known)} right")
    if options.save:
        draw_predictions(found[: min(len(drawn), DRAWN)], torch.stack(drawn[:DRAWN]), Path(options.save))
        console.say(f"drawn: {options.save}{f', the first {DRAWN}' if len(found) > DRAWN else ''}")
    return found


class Named(NamedTuple):
    """An image file that the command line means."""

    name: str
    typed: bool
    """Whether by its own name, so that it has to be an image, and not by its folder or a pattern."""


def images_named(images: Sequence[str]) -> list[Named]:
    """The files that words of the command line mean: files, all images in folders, patterns. Raises UserError where one means none."""
    names: list[Named] = []
    for word in images:
        if "://" in word:
            raise UserError(f"{word}: distalex reads files and fetches nothing; get it first, e.g. with: curl -O {word}")
        if Path(word).is_dir():
            inside = sorted(str(path) for path in Path(word).rglob("*") if is_image(path.name) and path.is_file())
            if not inside:
                raise UserError(f"{word}: no image in this folder; images end in .jpg, .png, .webp and the like")
            names += [Named(name, False) for name in inside]
        elif glob.has_magic(word) and not Path(word).exists():
            matching = sorted(glob.glob(word, recursive=True))
            if not matching:
                raise UserError(f"{word}: no file has such a name")
            names += [Named(name, False) for name in matching]
        else:
            names.append(Named(word, True))
    return names


def read_images(names: Sequence[Named], side: int, resize: str) -> Iterator[Batch]:
    """Image files in batches. Raises UserError for one that was typed and is none; others that are none are told and left out."""

    def read(one: Named) -> np.ndarray | None:
        try:
            return read_image(one.name, side, resize)
        except UserError as error:
            if one.typed:
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            return None

    rest = iter(names)
    with ThreadPoolExecutor(cores()) as readers:
        while part := list(islice(rest, BATCH)):
            images = [(image, one.name) for image, one in zip(readers.map(read, part), part, strict=True) if image is not None]
            if images:
                yield torch.from_numpy(np.stack([image for image, _ in images])), [name for _, name in images], None


def read_image(name: str, side: int, resize: str) -> np.ndarray:
    """An image file, `-` for the standard input, as stored images are: (side, side, 3) uint8. Raises UserError."""
    try:
        return square(open_image(sys.stdin.buffer.read() if name == "-" else read_file(Path(name))), side, resize)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: not a readable image ({error.strerror or error})") from None


def _album(trained: Trained, options: PredictOptions, mesh: Mesh, console: Console) -> Album:
    """Of the run's training images."""
    data = open_data_of(trained, options.data_root, BATCH, mesh, console)
    with console.showing():
        return open_album(trained, data.train, options.searched, console.progress)


def pick_test_images(trained: Trained, options: PredictOptions, mesh: Mesh, console: Console) -> tuple[Tensor, list[str], list[str]]:
    """Some of the run's test set, chosen by its seed: images, names and actual labels."""
    return some_of(open_data_of(trained, options.data_root, options.count, mesh, console), trained.config.seed, options.count)
