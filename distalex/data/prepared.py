"""Prepared files of named data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from distalex.config.data import DataConfig
from distalex.data.augment.statistics import Statistics
from distalex.data.beton.estimate import RAW, How, estimate
from distalex.data.beton.files import Encoding, write_all
from distalex.data.beton.sidecar import Prepared, read_prepared, sidecar
from distalex.data.places import prepared_folder
from distalex.data.sources.find import open_sources
from distalex.data.sources.source import Source
from distalex.data.sources.statistics import measure
from distalex.errors import UserError
from distalex.files import wait_for_lock, write_atomically


def _prepared_files(config: DataConfig, say: Callable[[str], None], progress: Callable[[str, int, int], None]) -> list[Prepared]:
    if config.name != "beton":
        return prepare(config, say, progress)
    assert config.train is not None
    train = Path(config.train)
    test = Path(config.test) if config.test else test_file(train)
    try:
        return [read_prepared(path) for path in (train, test)]
    except UserError as error:
        if not config.test and str(error).startswith(f"{test}: no such file"):
            raise UserError(f"data.test: none was given and {test} does not exist; name it with --data.test=FILE.beton") from None
        raise


def test_file(train: Path) -> Path:
    """Where `prepare --out=FILE.beton` puts the test split: FILE.test.beton."""
    return train.with_name(f"{re.sub(r'(-[0-9]{5}-of-[0-9]{5})?[.]beton$', '', train.name)}.test.beton")


def prepare(config: DataConfig, say: Callable[[str], None], progress: Callable[[str, int, int], None], workers: int = 0) -> list[Prepared]:
    """The prepared files of a named data set, written by the first process that asks; the others wait as long as it takes."""
    how = How(Encoding(config.encoding, config.quality), workers, config.skip_bad)
    kept = "" if how.encoding == RAW else f"-{config.encoding}{config.quality}"
    with wait_for_lock(prepared_folder() / f"{config.name}.lock", say):
        prepared = []
        for source in open_sources(config):
            fingerprint = source.fingerprint
            path = prepared_folder() / f"{source.name}-{source.split}-{source.side}{kept}-{fingerprint}.beton"
            try:
                found = read_prepared(path, fingerprint)
                if found.info.skipped and not config.skip_bad:
                    raise UserError(
                        f"{path}: {len(found.info.skipped)} bad image(s) were left out of it, and data.skip_bad is off; prepare it again"
                    )
            except UserError as error:
                if path.exists():
                    say(f"{error} - doing so")
                if source.note:
                    say(source.note)
                say(f"preparing {estimate(source, how).describe(source, how.encoding)}")
                done = partial(progress, f"preparing {source.name} {source.split}")
                found = write_all(source, path, done, how)
                tell_skipped(found, say)
            prepared.append(found)
        return prepared


TOLD = 10  # skipped images that are named one by one


def tell_skipped(prepared: Prepared, say: Callable[[str], None]) -> None:
    """Say which images were left out."""
    skipped = prepared.info.skipped
    for line in skipped[:TOLD]:
        say(f"skipped: {line}")
    if skipped:
        more = f"; all are listed in {sidecar(prepared.paths[0])}" if len(skipped) > TOLD else ""
        empty = [class_ for class_, count in zip(prepared.info.classes, prepared.info.counts, strict=True) if not count]
        if empty:
            say(f"no image is left of {len(empty)} class(es): {', '.join(empty[:5])}")
        say(f"{prepared.paths[0]}: {len(skipped):,} of {len(prepared.info) + len(skipped):,} images were skipped{more}")


def _measured(source: Source, say: Callable[[str], None]) -> Statistics:
    """Colour statistics of images that are not prepared, kept for the next run."""
    path = prepared_folder() / f"{source.name}-{source.side}-{source.fingerprint}.json"
    with wait_for_lock(path.with_suffix(".lock"), say):
        if path.is_file():
            values = json.loads(path.read_text())
            return Statistics(tuple(values["mean"]), tuple(tuple(row) for row in values["covariance"]))
        statistics = measure(source)
        write_atomically(path, json.dumps(asdict(statistics)).encode())
        return statistics
