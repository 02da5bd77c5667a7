"""Writes pictures into prepared files, as `python -m distalex.prepare`; `train` does it by itself for a named data set."""

if __name__ == "__main__":  # before torch is imported, so that --help answers at once
    from distalex.cli import entry

    entry("prepare")

from functools import partial
from pathlib import Path

from distalex import config
from distalex.console import Console
from distalex.data import beton
from distalex.data.load import prepare, test_file
from distalex.data.sources import Source, folder, open_sources
from distalex.errors import UserError


def prepare_source(options: config.PrepareOptions) -> list[Path]:
    """Prepare what `options` names and say what was written. Raises UserError, leaving nothing behind."""
    console = Console()
    data = _data_options(options)
    beton.import_ffcv()
    with console.showing():
        if options.out is None:
            paths = prepare(data, console.say, console.progress)
        else:
            paths = _write(_sources(options, data), Path(options.out), options, console)
    for path in paths:
        info = beton.read_info(path)
        console.say(f"{path}: {len(info):,} pictures of {info.side}x{info.side} in {len(info.classes)} classes, {info.bytes / 1e6:,.1f} MB")
    if options.out is None:
        console.say(
            f"train on it with: python -m distalex.train --data.name={options.source}"
            + (f" --data.root={options.root}" if options.root else "")
        )
    elif len(paths) == 2:
        console.say(f"train on it with: python -m distalex.train --data.name=beton --data.train={paths[0]} --data.test={paths[1]}")
    return paths


def _data_options(options: config.PrepareOptions) -> config.Data:
    """The `data` section that reads this source. Raises UserError for options that do not go together."""
    if options.source == "folder" and options.root is None:
        raise UserError("prepare folder: --root=DIR is missing; it names a folder of CLASS/*.jpg, or of train/ and test/ with such")
    if options.out is None and (options.split != "both" or options.encoding != "raw" or options.holdout):
        raise UserError("--split, --encoding and --holdout go with --out=FILE.beton, which is missing")
    if options.out is not None and not options.out.endswith(".beton"):
        raise UserError(f"out={options.out}: the name of a .beton file is needed, e.g. --out=pictures.beton")
    values = {
        "name": options.source,
        "root": options.root,
        "stored_size": options.size,
        "holdout": options.holdout or 0.1,
    }
    return config.validate(config.Data, values, {})


def _sources(options: config.PrepareOptions, data: config.Data) -> list[Source]:
    """The splits to write, in order."""
    if options.source == "folder" and not options.holdout and options.split == "both" and not _has_splits(Path(data.root or "")):
        return [folder(Path(data.root or ""), "all", data.side, "folder").shuffled()]
    sources = dict(zip(("train", "test"), open_sources(data), strict=True))
    return list(sources.values()) if options.split == "both" else [sources[options.split]]


def _has_splits(root: Path) -> bool:
    return (root / "train").is_dir() and any((root / name).is_dir() for name in ("test", "val", "valid", "validation"))


def _write(sources: list[Source], out: Path, options: config.PrepareOptions, console: Console) -> list[Path]:
    paths = [out, test_file(out)][: len(sources)]
    for path in paths:
        if path.exists() and not options.overwrite:
            raise UserError(f"{path}: exists; give another --out, or replace it with --overwrite")
    for source, path in zip(sources, paths, strict=True):
        beton.write(source, path, partial(console.progress, f"preparing {path.name}"), options.encoding, options.workers)
    return paths
