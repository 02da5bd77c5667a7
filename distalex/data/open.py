"""Opens the training and test pictures of a run, preparing them the first time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distalex.config import config
from distalex.data import order
from distalex.data.augment.augmentation import Statistics, Views
from distalex.data.beton import beton
from distalex.data.places import prepared_folder
from distalex.data.readers import CachedReader, FFCVReader, Reader, SyntheticReader, TorchvisionReader
from distalex.data.sources.find import open_sources
from distalex.data.sources.source import Source, measure
from distalex.errors import UserError
from distalex.machine.precision import arithmetic
from distalex.parallel.start import Arriving, Mesh
from distalex.parallel.topology import cores, free_memory, share


class Mixed(NamedTuple):
    """What mixed pictures hold besides their own label."""

    labels: Tensor
    """(n,) int64: their partners'."""
    shares: Tensor
    """(n,) float32: of the own label; the rest is the partner's."""


class Part(NamedTuple):
    """What one forward pass takes."""

    images: Tensor
    labels: Tensor
    first_row: int
    mix: Mixed | None = None


class Batch(NamedTuple):
    """One replica's part of a step, as the network takes it."""

    images: Tensor
    """(m, 3, size, size) in the run's precision, normalised, on the device."""
    labels: Tensor
    """(n,) int64, on the device."""
    samples: np.ndarray
    """(n,) their numbers in the split."""
    first_row: int
    """Row of the global batch that `labels[0]` is."""
    total: int
    """Pictures of the step over all replicas."""
    own_counts: tuple[int, ...] | None = None
    """Images in each of `train.accumulate` parts where a process has only some of its replica's (One Weird Trick); else m is n."""
    mix: Mixed | None = None
    """Where the run mixes pictures, whose labels these have too, on the device."""

    def parts(self, count: int) -> Iterator[Part]:
        """The batch in `count` parts, one after the other."""
        start = 0
        for number in range(count):
            rows = share(len(self.labels), number, count)
            own = rows
            if self.own_counts is not None:
                own = slice(start, start + self.own_counts[number])
                start = own.stop
            mix = self.mix and Mixed(self.mix.labels[rows], self.mix.shares[rows])
            yield Part(self.images[own], self.labels[rows], self.first_row + rows.start, mix)


@dataclass
class Split:
    """One split of a data set, ready to be read by this process."""

    reader: Reader
    count: int
    batch_size: int
    views: Views
    mesh: Mesh
    seed: int
    accumulate: int = 1
    kind_of_order: str = "random"

    @property
    def steps_per_epoch(self) -> int:
        return order.steps_per_epoch(self.count, self.batch_size)

    def train(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from step `first_step` on, augmented."""
        mesh = self.mesh
        steps = order.training_steps(self.count, self.batch_size, self.seed, epoch, mesh.replica, mesh.replicas, self.kind_of_order)
        return self._augmented(list(steps)[first_step:], epoch, self.accumulate)

    def test(self) -> Iterator[Batch]:
        """Every picture once, the centre of each."""
        return self._test(self.views.test)

    def stored(self) -> Iterator[Batch]:
        """Every picture once, as it is stored: `images` (m, side, side, 3) are uint8."""
        return self._test(torch.clone)  # the reader may be asked for the next batch before this one is used

    def seen(self, samples: np.ndarray, epoch: int) -> Batch:
        """What training in `epoch` sees of these samples, where there is one process."""
        (batch,) = self._augmented([order.Step(samples, 0, len(samples))], epoch, 1)
        return batch

    def _test(self, view: Callable[[Tensor], Tensor]) -> Iterator[Batch]:
        steps = order.test_steps(self.count, self.batch_size, self.mesh.replica, self.mesh.replicas)
        return self._read(list(steps), lambda images, _: view(images), 1)

    def _augmented(self, steps: list[order.Step], epoch: int, parts: int) -> Iterator[Batch]:
        """With mixing, a row is a sample and its partner until both are views."""
        mixing, see = self.views.mixing, partial(self.views.train, epoch=epoch)
        if mixing is None:
            yield from self._read(steps, see, parts)
            return
        partners = partial(mixing.partners, epoch=epoch, count=self.count)

        def mixed(pairs: Tensor, samples: np.ndarray) -> Tensor:
            both = np.stack([samples, partners(samples)], 1)
            views = see(pairs.flatten(0, 1), both.reshape(-1)).unflatten(0, both.shape)
            return mixing.mix(views[:, 0], views[:, 1], samples, epoch)

        for batch in self._read(steps, mixed, parts, partners):
            own, others = batch.labels.unbind(1)
            shares = torch.from_numpy(mixing.shares(batch.samples, epoch)).to(own.device, non_blocking=True)
            yield batch._replace(labels=own, mix=Mixed(others, shares))

    def _read(
        self,
        steps: list[order.Step],
        view: Callable[[Tensor, np.ndarray], Tensor],
        parts: int,
        partners: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[Batch]:
        """Each process of a column group reads its share of the replica's pictures, so that none is decoded twice."""
        mesh = self.mesh
        ahead = mesh.columns > 1 or mesh.device.type == "cuda"  # the next batch is on its way while this one is computed
        rows = [order.rows_of_columns(len(step.samples), mesh.columns, parts if mesh.spreads_pictures else None) for step in steps]
        own = [step.samples[columns[mesh.column].rows] for step, columns in zip(steps, rows, strict=True)]
        if partners is None:
            pictures = self.reader.read(own)
        else:
            in_turn = [samples for numbers in own for samples in (numbers, partners(numbers))]
            pictures = pairs(self.reader.read(in_turn), for_gpu=mesh.device.type == "cuda")
        try:
            coming = Gathering(next(pictures), rows[0], mesh) if steps else None
            for number, (step, columns, samples) in enumerate(zip(steps, rows, own, strict=True)):
                assert coming is not None
                images, labels = coming.wait()
                if mesh.spreads_pictures:
                    batch = Batch(view(images, samples), labels, *step, columns[mesh.column].counts)
                else:
                    batch = Batch(view(images, step.samples), labels, *step)
                if not ahead:
                    yield batch
                if number + 1 < len(steps):
                    coming.leave_reader()
                    coming = Gathering(next(pictures), rows[number + 1], mesh)
                if ahead:
                    yield batch
        finally:
            pictures.close()  # type: ignore[attr-defined]


def pairs(pictures: Iterator[tuple[Tensor, Tensor]], for_gpu: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of a sample and its partner, (n, 2, …), where `pictures` brings batches of samples and of their partners in turn."""
    try:
        for batch in pictures:
            pinned = for_gpu and not batch[0].is_cuda
            both = [tensor.new_empty((len(tensor), 2, *tensor.shape[1:]), pin_memory=pinned) for tensor in batch]
            for pair, tensor in zip(both, batch, strict=True):  # now, as a batch is valid until the next one is asked for
                pair[:, 0] = tensor
            for pair, tensor in zip(both, next(pictures), strict=True):
                pair[:, 1] = tensor
            yield both[0], both[1]
    finally:
        pictures.close()  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Gathering:
    """A batch of pictures and labels on its way from all processes of a column group, of which each has read `rows`."""

    def __init__(self, read: tuple[Tensor, Tensor], rows: list[order.Rows], mesh: Mesh) -> None:
        self.rows, self.mesh = rows, mesh
        self.copied: torch.cuda.Event | None = None
        self.images, self.labels = self._copy(read) if mesh.device.type == "cuda" and not read[0].is_cuda else read
        if mesh.columns > 1:
            self._require_copied()
            self.arriving = [self._start(tensor) for tensor in ([] if mesh.spreads_pictures else [self.images]) + [self.labels]]

    def _copy(self, read: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Onto the GPU, on a stream of its own, so that it computes meanwhile."""
        with torch.cuda.stream(_copying_stream(self.mesh.device)):
            on_gpu = [tensor.to(self.mesh.device, non_blocking=True) for tensor in read]
            self.copied = torch.cuda.Event()
            self.copied.record()
        for tensor in on_gpu:
            tensor.record_stream(torch.cuda.current_stream())
        return on_gpu

    def _require_copied(self) -> None:
        """Let what is computed from now on wait for the copies."""
        if self.copied is not None:
            torch.cuda.current_stream().wait_event(self.copied)

    def leave_reader(self) -> None:
        """Wait until the reader may overwrite what it read: a GPU copies from pinned memory when it comes to it."""
        if self.copied is not None:
            self.copied.synchronize()

    def _start(self, values: Tensor) -> Arriving:
        shapes = [(len(column.rows), *values.shape[1:]) for column in self.rows]
        return self.mesh.start_exchange([values] * self.mesh.columns, shapes, "images")

    def wait(self) -> tuple[Tensor, Tensor]:
        """Images, of this process only with One Weird Trick and else of all, and the labels of all, in the batch's order."""
        if self.mesh.columns == 1:
            self._require_copied()
            return self.images, self.labels
        *images, labels = (arriving.wait() for arriving in self.arriving)
        labels[self.mesh.column] = self.labels
        if self.mesh.spreads_pictures:
            places = np.argsort(np.concatenate([column.rows for column in self.rows]))
            return self.images, torch.cat(labels)[torch.from_numpy(places).to(self.labels.device, non_blocking=True)]
        images[0][self.mesh.column] = self.images
        return torch.cat(images[0]), torch.cat(labels)


@dataclass
class Pictures:
    """The data of a run."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    statistics: Statistics
    side: int
    """Of the stored pictures, in pixels."""
    resize: str
    """Which of a picture's sides became that."""
    tested_on: str
    """`test`, or `validation` where those pictures were held out of the training set."""

    def describe(self) -> str:
        counts = f"{self.train.count:,} training and {self.test.count:,} {self.tested_on} pictures"
        return f"{counts} of {self.side}x{self.side} in {len(self.classes)} classes"


def open_pictures(
    configuration: config.Config, mesh: Mesh, say: Callable[[str], None], progress: Callable[[str, int, int], None]
) -> Pictures:
    """Training and test pictures as `configuration` names them, prepared by one process of each node if need be.

    Raises UserError where data cannot be found, read or prepared, or does not fit into the memory that is to hold it.
    """
    options, train = configuration.data, configuration.train
    workers = options.workers or max(1, cores() // mesh.topology.local_world_size)
    sizes = {"train": train.batch_size, "test": train.eval_batch_size or train.batch_size}
    largest = {split: order.largest_share(size, mesh.replicas, mesh.columns, train.accumulate) for split, size in sizes.items()}
    opened = _open_readers(options, largest, workers, say, progress)
    if options.cache != "none" and options.loader != "synthetic":
        device = mesh.device if options.cache == "device" else torch.device("cpu")
        _require_memory(options, opened, device, mesh.topology.local_world_size)
        opened = opened._replace(readers=[_cached(opened, number, largest, device, progress) for number in range(2)])
    dtype = arithmetic(train, mesh.device)
    views = Views(options, opened.side, opened.statistics, configuration.seed, mesh.device, dtype)
    splits = [
        Split(reader, count, size, views, mesh, configuration.seed, train.accumulate, options.order)
        for reader, count, size in zip(opened.readers, opened.counts, sizes.values(), strict=True)
    ]
    return Pictures(splits[0], splits[1], opened.classes, opened.statistics, opened.side, opened.resize, options.tested_on)


class Opened(NamedTuple):
    """What reads the training and the test split, and what is known of them."""

    readers: list[Reader]
    counts: list[int]
    classes: tuple[str, ...]
    side: int
    statistics: Statistics
    resize: str


def _open_readers(
    options: config.Data,
    largest: dict[str, int],
    workers: int,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> Opened:
    if options.loader == "ffcv" or options.name == "beton":
        return _open_prepared(_prepared_files(options, say, progress), largest, workers)
    sources = open_sources(options)
    counts, classes, side = [len(source) for source in sources], sources[0].classes, sources[0].side
    if options.loader == "torchvision":
        readers: list[Reader] = [TorchvisionReader(source, workers if cores() > 1 else 0) for source in sources]
        return Opened(readers, counts, classes, side, _measured(sources[0], say), options.resize)
    statistics = Statistics((127.5,) * 3, tuple(tuple(row) for row in (np.eye(3) * 73.6**2).tolist()))
    noise: list[Reader] = [SyntheticReader(source.labels, side, size) for source, size in zip(sources, largest.values(), strict=True)]
    return Opened(noise, counts, classes, side, statistics, options.resize)


def _open_prepared(prepared: list[beton.Prepared], largest: dict[str, int], workers: int) -> Opened:
    train, test = (one.info for one in prepared)
    if train.classes != test.classes or (train.side, train.resize) != (test.side, test.resize):
        made = (f"{one.paths[0]}: {len(one.info.classes)} classes, {one.info.side} pixels, {one.info.resize}" for one in prepared)
        raise UserError(f"{' but '.join(made)}; prepare the two from one data set with one size")
    readers: list[Reader] = [FFCVReader(one.paths, size, workers) for one, size in zip(prepared, largest.values(), strict=True)]
    return Opened(readers, [len(train), len(test)], train.classes, train.side, train.statistics, train.resize)


def _require_memory(options: config.Data, opened: Opened, device: torch.device, processes: int) -> None:
    """Every process of a host holds all pictures."""
    needed = sum(opened.counts) * opened.side**2 * 3 * processes
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if needed > 0.9 * free:
        raise UserError(
            f"data.cache={options.cache}: {beton.in_bytes(needed)} are needed for {processes} process(es), "
            f"{beton.in_bytes(free)} are free; use --data.cache=none, which leaves it to the system what it keeps in memory"
        )


def _cached(
    opened: Opened, number: int, largest: dict[str, int], device: torch.device, progress: Callable[[str, int, int], None]
) -> Reader:
    split = list(largest)[number]
    done = partial(progress, f"reading the {split} pictures into memory")
    return CachedReader.of(opened.readers[number], opened.counts[number], opened.side, largest[split], device, done)


def _prepared_files(options: config.Data, say: Callable[[str], None], progress: Callable[[str, int, int], None]) -> list[beton.Prepared]:
    if options.name != "beton":
        return prepare(options, say, progress)
    assert options.train is not None
    train = Path(options.train)
    test = Path(options.test) if options.test else test_file(train)
    try:
        return [beton.read_prepared(path) for path in (train, test)]
    except UserError as error:
        if not options.test and str(error).startswith(f"{test}: no such file"):
            raise UserError(f"data.test: none was given and {test} does not exist; name it with --data.test=FILE.beton") from None
        raise


def test_file(train: Path) -> Path:
    """Where `prepare --out=FILE.beton` puts the test split: FILE.test.beton."""
    return train.with_name(f"{re.sub(r'(-[0-9]{5}-of-[0-9]{5})?[.]beton$', '', train.name)}.test.beton")


def prepare(
    options: config.Data, say: Callable[[str], None], progress: Callable[[str, int, int], None], workers: int = 0
) -> list[beton.Prepared]:
    """The prepared files of a named data set, written by the first process that asks; the others wait as long as it takes."""
    how = beton.How(beton.Encoding(options.encoding, options.quality), workers, options.skip_bad)
    kept = "" if how.encoding == beton.RAW else f"-{options.encoding}{options.quality}"
    with beton.wait_for_lock(prepared_folder() / f"{options.name}.lock", say):
        prepared = []
        for source in open_sources(options):
            fingerprint = source.fingerprint
            path = prepared_folder() / f"{source.name}-{source.split}-{source.side}{kept}-{fingerprint}.beton"
            try:
                found = beton.read_prepared(path, fingerprint)
                if found.info.skipped and not options.skip_bad:
                    raise UserError(
                        f"{path}: {len(found.info.skipped)} bad picture(s) were left out of it, and data.skip_bad is off; prepare it again"
                    )
            except UserError as error:
                if path.exists():
                    say(f"{error} - doing so")
                if source.note:
                    say(source.note)
                say(f"preparing {beton.estimate(source, how).describe(source, how.encoding)}")
                done = partial(progress, f"preparing {source.name} {source.split}")
                found = beton.write_all(source, path, done, how)
                tell_skipped(found, say)
            prepared.append(found)
        return prepared


TOLD = 10  # skipped pictures that are named one by one


def tell_skipped(prepared: beton.Prepared, say: Callable[[str], None]) -> None:
    """Say which pictures were left out."""
    skipped = prepared.info.skipped
    for line in skipped[:TOLD]:
        say(f"skipped: {line}")
    if skipped:
        more = f"; all are listed in {beton.sidecar(prepared.paths[0])}" if len(skipped) > TOLD else ""
        empty = [class_ for class_, count in zip(prepared.info.classes, prepared.info.counts, strict=True) if not count]
        if empty:
            say(f"no picture is left of {len(empty)} class(es): {', '.join(empty[:5])}")
        say(f"{prepared.paths[0]}: {len(skipped):,} of {len(prepared.info) + len(skipped):,} pictures were skipped{more}")


def _measured(source: Source, say: Callable[[str], None]) -> Statistics:
    """Colour statistics of pictures that are not prepared, kept for the next run."""
    path = prepared_folder() / f"{source.name}-{source.side}-{source.fingerprint}.json"
    with beton.wait_for_lock(path.with_suffix(".lock"), say):
        if path.is_file():
            values = json.loads(path.read_text())
            return Statistics(tuple(values["mean"]), tuple(tuple(row) for row in values["covariance"]))
        statistics = measure(source)
        beton.write_atomically(path, json.dumps(asdict(statistics)).encode())
        return statistics
