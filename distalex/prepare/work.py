"""Writing images into prepared files, and checking these, as `python -m distalex.prepare`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from distalex.config.choices import facts_in
from distalex.config.data import WANTED, DataConfig, name_at
from distalex.config.schema import plain_text, validate
from distalex.console import Console
from distalex.data.beton.estimate import How, estimate
from distalex.data.beton.ffcv import import_ffcv
from distalex.data.beton.files import Encoding, files_of, write_all
from distalex.data.beton.sidecar import Prepared, existing, path_of_test_split, read_info, read_prepared, remove, shard_path
from distalex.data.prepared import prepare, report_skipped
from distalex.data.source import Source, hold_out
from distalex.data.splits import find
from distalex.errors import UserError
from distalex.files import locked, refuse_unwritable
from distalex.prepare.options import CheckOptions, PrepareOptions


def prepare_command(options: PrepareOptions) -> None:
    """`python -m distalex.prepare`: leaves no partial file, also on SIGTERM. Raises UserError."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary files are removed
    prepare_source(options)


def prepare_source(options: PrepareOptions) -> list[Prepared]:
    """Prepare what `options` names and print what was written; returns the prepared splits. Raises UserError."""
    console = Console()
    data = _data_section(options)
    if options.dry_run:
        console.say(find(data).describe())
        return []
    import_ffcv()
    with console.showing():
        if options.out is None:
            prepared = prepare(data, console.say, console.progress, options.workers)
        else:
            prepared = _write(data, Path(options.out), options, console)
    for one in prepared:
        info, files = one.info, f" in {len(one.paths)} files" if len(one.paths) > 1 else ""
        size = f"{info.side}x{info.side} in {len(info.classes)} classes, {info.bytes / 1e6:,.1f} MB"
        console.say(f"{one.paths[0]}: {len(info):,} images of {size}{files}")
    console.say(_how_to_train(options, data, prepared))
    return prepared


def _how_to_train(options: PrepareOptions, config: DataConfig, prepared: list[Prepared]) -> str:
    """The command that trains on what was prepared."""
    command = "train on it with: python -m distalex.train"
    if options.out is None:
        default = DataConfig()
        given = ("root", "dataset", "labels", "columns", "class_from", "skip_bad", "stored_size", "resize", "encoding", "quality")
        changed = {key: value for key in given if (value := getattr(config, key)) != getattr(default, key)}
        words = [f"--data.{key}={plain_text(value)}" for key, value in {"name": config.name, **changed}.items()]
        return " ".join([command, *map(shlex.quote, words)])
    line = f"{command} --data.name=beton {shlex.quote(f'--data.train={options.out}')}"
    if len(prepared) == 2:
        return f"train on it with: python -m distalex.train {shlex.quote(options.out)}"
    return f"{line} --data.test=FILE.beton, a file of test images; or prepare with --holdout=0.1, which holds some out"


def check(options: CheckOptions) -> Prepared:
    """`prepare check FILE.beton`: read every byte and print what the file holds. Raises UserError where it is not as written."""
    prepared = read_prepared(Path(options.file), whole=True)
    info = prepared.info
    made = ", ".join(f"{name} {number}" for name, number in info.versions.items())
    kind = f"{info.side}x{info.side} {info.encoding}" + (f" (quality {info.quality})" if info.encoding != "raw" else "")
    classes = f"{len(info.classes)} classes ({', '.join(info.classes[:3])}{', …' if len(info.classes) > 3 else ''})"
    print(
        f"{options.file}: OK: {len(info):,} images of {kind} in {classes}, {info.bytes / 1e6:,.1f} MB, {len(prepared.paths)} file(s)\n"
        f"from {info.origin} ({info.name} {info.split}, fingerprint {info.fingerprint}), {len(info.skipped)} skipped; written by {made}"
    )
    return prepared


def _data_section(options: PrepareOptions) -> DataConfig:
    """The `data` section with which `train` reads the same images. Raises UserError for options that do not go together."""
    source = options.source if options.source != "auto" else name_at(options.root) if options.root else "folder"
    if "root" in facts_in("data/sources", source)["NEEDS"] and options.root is None:
        raise UserError(f"prepare {options.source}: --root is missing; give --root={WANTED['root']}")
    if options.out is None and (options.split != "both" or options.holdout or options.per_file or options.overwrite):
        raise UserError("--split, --holdout, --per_file and --overwrite need --out=FILE.beton, which is missing; add it")
    if options.out is not None and not options.out.endswith(".beton"):
        raise UserError(f"out={options.out}: the name of a .beton file is needed, e.g. --out=images.beton")
    values = {
        key: getattr(options, key)
        for key in ("root", "dataset", "labels", "columns", "class_from", "resize", "encoding", "quality", "skip_bad")
    }
    return validate(DataConfig, {**values, "name": source, "stored_size": options.size}, {})


def _sources(options: PrepareOptions, config: DataConfig, say: Callable[[str], None]) -> list[Source]:
    """The splits to write, in order; what was recognised is printed."""
    found = find(config)
    say(found.describe())
    sources: tuple[Source, ...] = found.sources
    if len(sources) == 1 and options.split == "both" and not options.holdout:
        return [sources[0].shuffled()]
    if len(sources) == 1:
        sources = hold_out(sources[0], options.holdout or config.holdout)
    shuffled = {source.split: source.shuffled() for source in sources}
    return list(shuffled.values()) if options.split == "both" else [shuffled[options.split]]


def _write(config: DataConfig, out: Path, options: PrepareOptions, console: Console) -> list[Prepared]:
    """Write the splits to `out` and its test file; one process at a time writes into a folder."""
    sources = _sources(options, config, console.say)
    targets = [out, path_of_test_split(out)][: len(sources)]
    how = How(Encoding(options.encoding, options.quality), options.workers, options.skip_bad)
    with refuse_unwritable(out, "out"):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.parent, lambda: console.say(f"waiting for another process that prepares into {out.parent}/")):
        if not options.overwrite:
            _require_free(sources, out, options.per_file)
        prepared = []
        for source, path in zip(sources, targets, strict=True):
            console.say(f"preparing {estimate(source, how).describe(source, how.encoding)}")
            done = partial(console.progress, f"preparing {path.name}")
            prepared.append(write_all(source, path, done, how, options.per_file, options.overwrite))
            report_skipped(prepared[-1], console.say)
        if options.overwrite and len(prepared) == 1:
            remove(path_of_test_split(out))  # its images may be among these
    return prepared


def _require_free(sources: list[Source], out: Path, per_file: int | None) -> None:
    """Raise UserError where files that `out` or its test file stands for exist, unless they are some of the files to write."""
    for number, path in enumerate((out, path_of_test_split(out))):
        written = number < len(sources)
        shards = files_of(sources[number], per_file) if written else 0
        wanted = [shard_path(path, shard, shards) for shard in range(shards)]
        found = existing(path)
        if set(found) - set(wanted) or (found and found == wanted):
            what = "exists" if written else f"exists, and would be used as the test images of {out}"
            raise UserError(f"{found[0]}: {what}; give another --out, or replace it with --overwrite")
        for one in found:
            if read_info(one).fingerprint != sources[number].fingerprint:
                raise UserError(f"{one}: holds other images; give another --out, or replace it with --overwrite")
