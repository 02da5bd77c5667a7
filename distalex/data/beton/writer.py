"""FFCV's writer, made to notice when a writing process fails, to skip bad images, and to choose an encoding for each image."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from ctypes import c_uint64
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distalex import random
from distalex.data.contents import checksum_of
from distalex.data.source import SKIP, BadImage, Source
from distalex.errors import UserError

Progress = Callable[[int, int], None]
"""Called with the number of images that are done, and of all."""

CHUNK = 100
"""Images that a process takes at once."""


class Encoding(NamedTuple):
    """How images are stored."""

    name: str = "raw"
    """`raw` pixels; `jpg`, about a tenth of the size and slower to read; `mixed`: a random half of the images as JPEG."""
    quality: int = 90
    """Of JPEG, 1 to 100."""

    def is_jpeg(self, samples: np.ndarray) -> np.ndarray:
        """(n,) bool: which of these samples are stored as JPEG."""
        if self.name == "mixed":
            return random.bits(random.key(0, "mixed"), samples) % 2 == 0
        return np.full(len(samples), self.name == "jpg")


class Written(NamedTuple):
    """Which samples of a source are in a file."""

    kept: np.ndarray
    """(n,) int64: the numbers of those that are, in order."""
    checksums: np.ndarray
    """(n,) int64: CRC-32 of the pixels of each of these."""
    skipped: list[str]
    """A line on each of the others."""


def write_images(source: Source, path: Path, progress: Progress, encoding: Encoding, workers: int, skip_bad: bool) -> Written:
    """Write `source` to `path` as FFCV's `.beton`. Raises BadImage at the first unreadable one unless `skip_bad`."""
    writer = _writer_class()(str(path), _fields("raw", encoding), num_workers=workers)
    checksums, bad = writer.write(source, progress, encoding, skip_bad)
    table = np.array(sorted(checksums.items()), dtype=np.int64).reshape(-1, 2)
    return Written(table[:, 0], table[:, 1], [bad[sample] for sample in sorted(bad)])


def _fields(mode: str, encoding: Encoding) -> dict[str, Any]:
    from ffcv.fields import IntField, RGBImageField

    return {"image": RGBImageField(write_mode=mode, jpeg_quality=encoding.quality), "label": IntField()}


def _work(task: _Task, todo: Any, memory: Any, allocator: Any, done: Any, results: Any) -> None:
    """Run a writing process: put chunks of samples into the file, then send what it has done or the first exception."""
    from ffcv.writer import handle_sample

    source, layout = task.source, task.layout
    metadata = np.frombuffer(memory.buf, dtype=layout)
    checksums: dict[int, int] = {}
    bad: dict[int, str] = {}
    try:
        with allocator:
            while (chunk := todo.get()) is not None:
                if os.getppid() != task.parent:
                    os._exit(1)  # the parent was killed, and nothing completes this file
                for sample, is_jpeg in zip(chunk, task.encoding.is_jpeg(np.array(chunk)).tolist(), strict=True):
                    try:
                        image = source.image(sample)
                    except BadImage as error:
                        if not task.skip_bad:
                            raise
                        bad[sample] = str(error).removesuffix(f"; {SKIP}")
                        continue
                    checksums[sample] = checksum_of(image)
                    handle_sample((image, int(source.labels[sample])), sample, layout.names, metadata, allocator, task.fields[is_jpeg])
                with done.get_lock():
                    done.value += len(chunk)
        results.put(_Done(allocator.allocations, checksums, bad))
    except Exception as error:
        results.put(error)


class _Done(NamedTuple):
    """What one writing process, or all of them, did."""

    allocations: list[Any]
    """Where FFCV put the data of each sample."""
    checksums: dict[int, int]
    """CRC-32 of the pixels of each sample."""
    bad: dict[int, str]
    """A line on each sample that was skipped."""


class _Task(NamedTuple):
    """What every writing process works on."""

    source: Source
    encoding: Encoding
    skip_bad: bool
    fields: tuple[dict[str, Any], dict[str, Any]]
    """For raw pixels and for JPEG."""
    layout: np.dtype
    parent: int


def _writer_class() -> Any:
    from ffcv.memory_allocator import MemoryAllocator
    from ffcv.writer import DatasetWriter

    class Writer(DatasetWriter):
        """FFCV's own `_write_common` waits forever for a process that failed, and cannot skip an image."""

        def write(self, source: Source, progress: Progress, encoding: Encoding, skip_bad: bool) -> tuple[dict[int, int], dict[int, str]]:
            """Write all images; the CRC-32 of each, and a line on each that was skipped, by their numbers."""
            self.num_samples = len(source)
            self.prepare()
            fork = get_context("fork")  # a source has open files and functions, which cannot be pickled
            todo, results, done = fork.Queue(), fork.Queue(), fork.Value(c_uint64, 0)
            for chunk in np.array_split(np.arange(len(source)), max(self.num_workers, len(source) // CHUNK)):
                todo.put(chunk.tolist())
            for _ in range(self.num_workers):
                todo.put(None)
            allocator = MemoryAllocator(self.fname, self.data_region_start, self.page_size)
            fields = _fields("raw", encoding), _fields("jpg", encoding)
            task = _Task(source, encoding, skip_bad, fields, self.metadata_type, os.getpid())
            arguments = (task, todo, self.metadata_sm, allocator, done, results)
            processes = [fork.Process(target=_work, args=arguments, daemon=True) for _ in range(self.num_workers)]
            try:
                for process in processes:
                    process.start()
                written = _collect(processes, results, done, len(source), progress)
                self.finalize(self.without(written.bad, written.allocations))
            finally:
                for process in processes:
                    process.terminate()
                    process.join()
                self.metadata_sm.close()
                self.metadata_sm.unlink()
            return written.checksums, written.bad

        def without(self, bad: dict[int, str], allocations: list[Any]) -> list[Any]:
            """Close the gaps that skipped images leave in the file's table, and number the others through."""
            if not bad:
                return allocations
            metadata = np.frombuffer(self.metadata_sm.buf, dtype=self.metadata_type)
            kept = np.ones(len(metadata), dtype=bool)
            kept[list(bad)] = False
            numbers = np.cumsum(kept) - 1
            metadata[: kept.sum()] = metadata[kept]
            self.num_samples = self.header["num_samples"] = int(kept.sum())
            del metadata  # or its memory cannot be closed
            return [(int(numbers[sample]), *rest) for sample, *rest in allocations]

    return Writer


def _collect(processes: list[Any], results: Any, done: Any, total: int, progress: Progress) -> _Done:
    """What all processes did. Raises what one of them raised, and UserError where one was killed."""
    everything = _Done([], {}, {})
    for _ in processes:
        while True:
            progress(done.value, total)
            try:
                result = results.get(timeout=0.1)
                break
            except queue.Empty:
                killed = [process for process in processes if process.exitcode not in (None, 0)]
                if killed:
                    raise UserError(
                        f"a writing process was killed (exit status {killed[0].exitcode}; -9 is often too little memory); try --workers=1"
                    ) from None
        if isinstance(result, Exception):
            raise result
        everything.allocations.extend(result.allocations)
        everything.checksums.update(result.checksums)
        everything.bad.update(result.bad)
    progress(total, total)
    return everything
