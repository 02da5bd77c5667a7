"""`python -m distalex.predict RUN [IMAGE …]`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from glob import has_magic
from pathlib import Path

import torch
from torch import Tensor

from distalex.console import Console, note
from distalex.errors import UserError
from distalex.files import require_figure
from distalex.parallel.mesh import Mesh
from distalex.parallel.start import start_processes
from distalex.predict.drawing import draw_predictions
from distalex.predict.images import READ_AT_ONCE, StoredImages, files_named, labels_by_folder, read_files
from distalex.predict.neighbours import FeatureIndex, features_of, index_features
from distalex.predict.options import PredictOptions
from distalex.predict.predictions import TOP, Prediction, choose_test_images, predict_images
from distalex.runs.checkpoint import known_runs, names_run
from distalex.runs.trained import Trained, open_data_of, open_trained

DRAWN = 100
"""Most images of a drawing."""


def predict_run(options: PredictOptions) -> list[Prediction]:
    """Print, and draw with `--save`, what a run's network predicts of image files, or of some test images where none is named.

    Raises UserError where the run is missing, a named file is not an image, or the drawing cannot be written.
    """
    if options.save:
        require_figure(Path(options.save), "save")
    console = Console(not (options.json_lines or options.csv))
    options = sort_words(options)
    files = files_named(options.images)
    found: list[Prediction] = []
    drawn: list[Tensor] = []
    with start_processes("none", device=options.device) as mesh:
        trained = open_trained(options.run, options.runs_dir, partial(note, beside=options.json_lines or options.csv))
        trained.to(mesh.device)
        index = _index(trained, options, mesh, console) if options.neighbours else None
        batches: Iterable[StoredImages]
        if files:
            labels = labels_by_folder(files, trained.classes) if len(files) > 1 else {}
            batches = read_files(files, trained.state["side"], trained.state.get("resize", "short_side"), labels)
        else:
            data = open_data_of(trained, options, options.count, mesh, console)
            batches = [choose_test_images(data, trained.config.seed, options.count)]
        if options.csv:
            csv.writer(sys.stdout).writerow(_head(trained, index, options.neighbours))
        for images in batches:
            predictions = list(_predicted(trained, images, index, options.neighbours, mesh))
            _print(predictions, options)
            found += predictions
            if options.save and len(drawn) < DRAWN:
                drawn += list(images.pixels.clone())
    if not found:
        raise UserError(f"{' '.join(options.images[:3])}: none of the {len(files)} file(s) is a readable image")
    known = [prediction for prediction in found if prediction.actual]
    if known:
        right = sum(prediction.actual == prediction.labels[0] for prediction in known)
        console.say(f"{right} of {len(known)} right{', by the names of their folders' * bool(files)} ({100 * right / len(known):.1f} %)")
    if options.save:
        draw_predictions(found[: min(len(drawn), DRAWN)], torch.stack(drawn[:DRAWN]), Path(options.save))
        console.say(f"written: {options.save}{f', the first {DRAWN} images' if len(found) > DRAWN else ''}")
    return found


def sort_words(options: PredictOptions) -> PredictOptions:
    """Take the first word for an image where it stands for images and for no run. Raises UserError where it stands for neither."""
    word = options.run
    if word is None or names_run(word, options.runs_dir):
        return options
    if word == "-" or "://" in word or has_magic(word) or Path(word).exists():
        return options.model_copy(update={"run": None, "images": (word, *options.images)})
    if options.images:
        return options  # whose run is missing
    raise UserError(f"{word}: no such run, checkpoint or image{known_runs(options.runs_dir)}")


def _index(trained: Trained, options: PredictOptions, mesh: Mesh, console: Console) -> FeatureIndex:
    data = open_data_of(trained, options, READ_AT_ONCE, mesh, console)
    with console.showing():
        return index_features(trained, data.train, options.searched, console.progress)


def _predicted(trained: Trained, images: StoredImages, index: FeatureIndex | None, neighbours: int, mesh: Mesh) -> Iterator[Prediction]:
    """Predictions of a batch, with the labels of its nearest training images where an index is given."""
    predictions = predict_images(trained, *images)
    if index is None:
        yield from predictions
        return
    places, _ = index.nearest(features_of(trained, trained.augmentation(mesh.device), images.pixels), neighbours)
    for prediction, row in zip(predictions, places.tolist(), strict=True):
        yield replace(prediction, neighbours=tuple(trained.classes[index.labels[place]] for place in row))


def _head(trained: Trained, index: FeatureIndex | None, neighbours: int) -> list[str]:
    """Names of the CSV's columns, as of `Prediction.cells`."""
    ranks = range(1, min(TOP, len(trained.classes)) + 1)
    pairs = [f"{kind}{rank}" for rank in ranks for kind in ("label", "probability")]
    nearest = range(1, min(neighbours, len(index.samples)) + 1) if index else ()
    return ["name", "actual", *pairs, *(f"neighbour{rank}" for rank in nearest)]


def _print(predictions: list[Prediction], options: PredictOptions) -> None:
    writer = csv.writer(sys.stdout)
    for prediction in predictions:
        if options.csv:
            writer.writerow(prediction.cells())
        else:
            print(prediction.json() if options.json_lines else prediction.line())
