"""Prepared files of a data set that is named in a config: found beside the data, or written the first time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial

from distalex.config.choices import facts_in
from distalex.config.data import DataConfig
from distalex.data.augment.statistics import Statistics, measure
from distalex.data.beton.estimate import RAW, How, estimate
from distalex.data.beton.files import Encoding, write_all
from distalex.data.beton.sidecar import Prepared, names_path, pack_names, read_prepared, sidecar
from distalex.data.found import describe_classes, describe_split
from distalex.data.places import prepared_folder
from distalex.data.source import Source
from distalex.data.splits import open_sources, source_module
from distalex.errors import UserError
from distalex.files import locked, write_atomically

Say = Callable[[str], None]
"""Prints a line."""
Progress = Callable[[str, int, int], None]
"""Called with the name of the work, the images that are done, and all of its images."""
SPLITS = ("train", "test")


def is_prepared(config: DataConfig) -> bool:
    """Whether `config` names prepared files themselves, and not images to prepare."""
    return bool(facts_in("data/sources", config.name).get("PREPARED"))


def prepared_files(config: DataConfig, splits: Sequence[str], say: Say, progress: Progress) -> list[Prepared]:
    """The prepared files of `splits`, written first where there are none. Raises UserError."""
    if is_prepared(config):
        opened = [source_module(config.name).open_prepared(config, split) for split in splits]
        say(_describe(opened, splits))
        return opened
    both = dict(zip(SPLITS, prepare(config, say, progress), strict=True))
    return [both[split] for split in splits]


def prepare(config: DataConfig, say: Say, progress: Progress, workers: int = 0) -> list[Prepared]:
    """The prepared training and test files of a named data set; one process writes them, others wait for it as long as it takes.

    Raises UserError where images cannot be found or read, or the files not be written.
    """
    how = How(Encoding(config.encoding, config.quality), workers, config.skip_bad)
    suffix = "" if how.encoding == RAW else f"-{config.encoding}{config.quality}"
    with locked(prepared_folder() / f"{config.name}.lock", lambda: say(f"waiting for another process that prepares {config.name}")):
        prepared = []
        for source in open_sources(config, say):
            fingerprint = source.fingerprint
            path = prepared_folder() / f"{source.name}-{source.split}-{source.side}{suffix}-{fingerprint}.beton"
            try:
                found = read_prepared(path, fingerprint)
                if found.info.skipped and not config.skip_bad:
                    raise UserError(
                        f"{path}: {len(found.info.skipped)} bad image(s) were skipped, and data.skip_bad is off; prepare it again"
                    )
            except (UserError, PermissionError) as error:  # another user's umask may keep their files from us
                if path.exists():
                    reason = error if isinstance(error, UserError) else f"{path}: {error.strerror}; prepare it again"
                    say(f"{reason} - doing so")
                say(f"preparing {estimate(source, how).describe(source, how.encoding)}")
                done = partial(progress, f"preparing {source.name} {source.split}")
                found = write_all(source, path, done, how)
                report_skipped(found, say)
            if not found.info.skipped and not names_path(path).exists():  # an earlier distalex wrote none
                with suppress(OSError):  # a folder that others own serves without names
                    write_atomically(names_path(path), pack_names([source.places(sample) for sample in range(len(source))]))
            prepared.append(found)
        return prepared


def _describe(prepared: Sequence[Prepared], splits: Sequence[str]) -> str:
    """Lines on what prepared files hold, as those on what lies at a root."""
    classes = prepared[0].info.classes
    counts = [[one.info.counts[label] for one in prepared] for label in range(len(classes))] if _agree(prepared) else []
    images = ", ".join(f"{len(one.info):,} {describe_split(split)}" for one, split in zip(prepared, splits, strict=True))
    listed = describe_classes(classes, counts) if counts else f"{len(classes):,}"
    return f"found prepared files at {' and '.join(str(one.paths[0]) for one in prepared)}\n  images   {images}\n  classes  {listed}"


def _agree(prepared: Sequence[Prepared]) -> bool:
    return len({one.info.classes for one in prepared}) == 1


LISTED = 10
"""Skipped images that are printed one by one."""


def report_skipped(prepared: Prepared, say: Say) -> None:
    """Print which images were skipped, and which classes have none left."""
    skipped = prepared.info.skipped
    for line in skipped[:LISTED]:
        say(f"skipped: {line}")
    if skipped:
        more = f"; all are listed in {sidecar(prepared.paths[0])}" if len(skipped) > LISTED else ""
        empty = [class_ for class_, count in zip(prepared.info.classes, prepared.info.counts, strict=True) if not count]
        if empty:
            say(f"{len(empty)} class(es) have no image left: {', '.join(empty[:5])}")
        say(f"{prepared.paths[0]}: {len(skipped):,} of {len(prepared.info) + len(skipped):,} images were skipped{more}")


def measured_statistics(source: Source, say: Say) -> Statistics:
    """Colour statistics of images that are not prepared, cached for the next run."""
    path = prepared_folder() / f"{source.name}-{source.side}-{source.fingerprint}.json"
    with locked(path.with_suffix(".lock"), lambda: say(f"waiting for another process that measures {source.name}")):
        if path.is_file():
            values = json.loads(path.read_text())
            return Statistics(tuple(values["mean"]), tuple(tuple(row) for row in values["covariance"]))
        statistics = measure(source)
        write_atomically(path, json.dumps(asdict(statistics)).encode())
        return statistics
