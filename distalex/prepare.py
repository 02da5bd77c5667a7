"""Writes pictures into prepared files, as `python -m distalex.prepare`; `train` does it by itself for a named data set."""

if __name__ == "__main__":  # before torch is imported, so that --help answers at once
    from distalex.cli import entry

    entry("prepare")

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from distalex import config
from distalex.console import Console
from distalex.data import beton
from distalex.data.find import list_sources
from distalex.data.load import prepare, tell_skipped, test_file
from distalex.data.sources import Source, hold_out
from distalex.errors import UserError


def prepare_source(options: config.PrepareOptions) -> list[beton.Prepared]:
    """Prepare what `options` names and say what was written. Raises UserError, leaving nothing half written behind."""
    console = Console()
    data = _data_options(options)
    beton.import_ffcv()
    with console.showing():
        if options.out is None:
            prepared = prepare(data, console.say, console.progress)
        else:
            prepared = _write(data, Path(options.out), options, console)
    for one in prepared:
        info, files = one.info, f" in {len(one.paths)} files" if len(one.paths) > 1 else ""
        size = f"{info.side}x{info.side} in {len(info.classes)} classes, {info.bytes / 1e6:,.1f} MB"
        console.say(f"{one.paths[0]}: {len(info):,} pictures of {size}{files}")
    console.say(_how_to_train(options, data, prepared))
    return prepared


def _how_to_train(options: config.PrepareOptions, data: config.Data, prepared: list[beton.Prepared]) -> str:
    command = "train on it with: python -m distalex.train"
    if options.out is None:
        values = {"name": data.name, "root": data.root, "dataset": data.dataset, "labels": data.labels}
        changed = {"stored_size": options.size} | {
            key: value for key in ("resize", "encoding", "quality") if (value := getattr(options, key)) != getattr(config.Data(), key)
        }
        return " ".join([command, *(f"--data.{key}={value}" for key, value in {**values, **changed}.items() if value is not None)])
    test = str(test_file(Path(options.out)) if len(prepared) == 2 else "FILE.beton")
    return f"{command} --data.name=beton --data.train={options.out} --data.test={test}"


def check(options: config.CheckOptions) -> beton.Prepared:
    """`prepare check FILE.beton`: read every byte, and say what the file holds. Raises UserError where it is not as written."""
    prepared = beton.read_prepared(Path(options.file), whole=True)
    info = prepared.info
    made = ", ".join(f"{name} {number}" for name, number in info.versions.items())
    kind = f"{info.side}x{info.side} {info.encoding}" + (f" (quality {info.quality})" if info.encoding != "raw" else "")
    classes = f"{len(info.classes)} classes ({', '.join(info.classes[:3])}{', …' if len(info.classes) > 3 else ''})"
    print(
        f"{options.file}: whole. {len(info):,} pictures of {kind} in {classes}, {info.bytes / 1e6:,.1f} MB, {len(prepared.paths)} file(s)\n"
        f"from {info.origin} ({info.name} {info.split}, fingerprint {info.fingerprint}), {len(info.skipped)} skipped; written by {made}"
    )
    return prepared


def _data_options(options: config.PrepareOptions) -> config.Data:
    """The `data` section that reads this source. Raises UserError for options that do not go together."""
    source = "folder" if options.source == "auto" else options.source
    if source in ("folder", "imagenet", "webdataset") and options.root is None:
        raise UserError(
            f"prepare {options.source}: --root is missing; it names a folder of CLASS/*.jpg, or of train/ and test/ with such, "
            "a tar archive or a table"
        )
    if options.out is None and (options.split != "both" or options.holdout or options.per_file):
        raise UserError("--split, --holdout and --per_file go with --out=FILE.beton, which is missing")
    if options.out is not None and not options.out.endswith(".beton"):
        raise UserError(f"out={options.out}: the name of a .beton file is needed, e.g. --out=pictures.beton")
    values = {key: getattr(options, key) for key in ("root", "dataset", "labels", "resize", "encoding", "quality", "skip_bad")}
    return config.validate(config.Data, {**values, "name": source, "stored_size": options.size, "holdout": options.holdout or 0.1}, {})


def _sources(options: config.PrepareOptions, data: config.Data) -> list[Source]:
    """The splits to write, in order."""
    sources: tuple[Source, ...] = list_sources(data)
    if len(sources) == 1 and options.split == "both" and not options.holdout:
        return [sources[0].shuffled()]
    if len(sources) == 1:
        sources = hold_out(sources[0], data.holdout)
    shuffled = {source.split: source.shuffled() for source in sources}
    return list(shuffled.values()) if options.split == "both" else [shuffled[options.split]]


def _write(data: config.Data, out: Path, options: config.PrepareOptions, console: Console) -> list[beton.Prepared]:
    sources = _sources(options, data)
    targets = [out, test_file(out)][: len(sources)]
    encoding = beton.Encoding(options.encoding, options.quality)
    with _only_one_writes(out.parent):
        for source, path in zip(sources, targets, strict=True):
            if not options.overwrite and _is_there(path, source, options.per_file):
                raise UserError(f"{path}: exists; give another --out, or replace it with --overwrite")
        prepared = []
        for source, path in zip(sources, targets, strict=True):
            console.say(f"preparing {beton.estimate(source, encoding, options.workers).describe(source, encoding)}")
            done = partial(console.progress, f"preparing {path.name}")
            prepared.append(beton.write_all(source, path, done, encoding, options.workers, options.skip_bad, options.per_file))
            tell_skipped(prepared[-1], console.say)
    return prepared


def _is_there(path: Path, source: Source, per_file: int | None) -> bool:
    """Whether writing would replace something: of a set of several files, only those that are all there."""
    shards = -(-len(source) // per_file) if per_file else 1
    return all(beton.shard_path(path, shard, shards).exists() for shard in range(shards))


@contextmanager
def _only_one_writes(folder: Path) -> Iterator[None]:
    """A second process that prepares into the same folder waits; the lock leaves no file, and ends with its process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"out: {folder}/ cannot be written ({error.strerror}); give another place") from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
