"""Prepared files: FFCV's `.beton`, written atomically and read back, with a JSON sidecar that describes it.

The sidecar `FILE.beton.json` carries classes, counts, colour statistics, origin and a checksum, so that a truncated,
foreign or changed file is refused before training.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import time
import zlib
from collections.abc import Callable
from ctypes import c_uint64
from dataclasses import asdict, dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from distalex import __version__
from distalex.augment import Statistics
from distalex.data.sources import Source, measure
from distalex.errors import UserError
from distalex.topology import cores

FORMAT = 1
CHECKED_WHOLE = 2**30  # bytes; of a larger file only evenly spaced pieces are checked at every start
PIECE = 2**20
READ_BACK = 64  # pictures compared with their source after writing

Progress = Callable[[int, int], None]
"""Called with how many pictures are done, and of how many."""


@dataclass(frozen=True)
class Info:
    """What the sidecar says of a prepared file."""

    format: int
    name: str
    split: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Pictures of each class."""
    side: int
    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    encoding: str
    fingerprint: str
    origin: str
    bytes: int
    checksum: str
    written_by: str

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.mean, self.covariance)


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def write(source: Source, path: Path, progress: Progress, encoding: str = "raw", workers: int = 0) -> Info:
    """Write `source` to `path` and its sidecar, both whole or not at all, and read the file back.

    Args:
        encoding: `raw` pixels, or `jpg` (quality 90, about a tenth of the size, slower to read).
        workers: writing processes; 0 for one a core.

    Raises:
        UserError: a picture is unreadable, FFCV is not installed, or the disk has no room or refuses.
    """
    DatasetWriter = _writer_class()
    from ffcv.fields import IntField, RGBImageField

    path.parent.mkdir(parents=True, exist_ok=True)
    _require_room(path, len(source) * source.side**2 * (3 if encoding == "raw" else 1))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        fields = {"image": RGBImageField(write_mode=encoding, jpeg_quality=90), "label": IntField()}
        writer = DatasetWriter(str(temporary), fields, num_workers=workers or min(cores(), max(1, len(source) // 500)))
        writer.write(source, progress)
        _read_back(temporary, source, encoding)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        statistics = measure(source)
        info = Info(
            FORMAT,
            source.name,
            source.split,
            source.classes,
            tuple(np.bincount(source.labels, minlength=len(source.classes)).tolist()),
            source.side,
            statistics.mean,
            statistics.covariance,
            encoding,
            source.fingerprint,
            source.origin,
            temporary.stat().st_size,
            checksum(temporary),
            f"distalex {__version__}",
        )
        write_atomically(sidecar(path), json.dumps(asdict(info), indent=1).encode())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; free some space or give another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return info


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_info(path: Path, fingerprint: str | None = None) -> Info:
    """The description of a prepared file, after checking that the file is what it says.

    Raises UserError in one line where file or sidecar is missing, truncated, foreign, changed or (with `fingerprint`)
    made from something else.
    """
    again = "; prepare it again: python -m distalex.prepare --help"
    if not path.is_file():
        raise UserError(f"{path}: no such file{again}")
    try:
        values: dict[str, Any] = json.loads(sidecar(path).read_text(encoding="utf-8"))
        values["covariance"] = tuple(tuple(row) for row in values["covariance"])
        info = Info(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})  # type: ignore[arg-type]
    except FileNotFoundError:
        raise UserError(f"{path}: its description {sidecar(path).name} is missing; move the two together or prepare it again") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{sidecar(path)}: not a description of a prepared file ({error}){again}") from None
    if info.format != FORMAT:
        raise UserError(f"{path}: format {info.format}, and this distalex reads {FORMAT}{again}")
    size = path.stat().st_size
    if size != info.bytes:
        raise UserError(f"{path}: {size:,} bytes where {info.bytes:,} were written; it is truncated or changed{again}")
    if checksum(path) != info.checksum:
        raise UserError(f"{path}: its checksum differs from what was written; it is damaged{again}")
    if fingerprint is not None and info.fingerprint != fingerprint:
        raise UserError(f"{path}: made from other pictures than {info.origin} holds now{again}")
    return info


def checksum(path: Path) -> str:
    """CRC-32 of the whole file up to 1 GiB, else of 1,024 evenly spaced pieces of 1 MiB."""
    size = path.stat().st_size
    starts = range(0, size, PIECE) if size <= CHECKED_WHOLE else np.linspace(0, size - PIECE, 1024, dtype=np.int64).tolist()
    crc = 0
    with open(path, "rb") as file:
        for start in starts:
            file.seek(start)
            crc = zlib.crc32(file.read(PIECE), crc)
    return f"crc32:{crc:08x}"


def _require_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed * 1.05:
        raise UserError(
            f"{path}: about {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free there; free some space or give another place"
        )


def _read_back(path: Path, source: Source, encoding: str) -> None:
    """Compare every label, and some pictures, with the source."""
    from ffcv.reader import Reader

    reader = Reader(str(path))
    labels = reader.metadata["f1"].reshape(-1).view(np.int64)
    if reader.num_samples != len(source) or not np.array_equal(labels, source.labels):
        raise RuntimeError(f"{path}: labels read back differ from the labels written")
    memory = np.memmap(path, dtype=np.uint8, mode="r")
    sizes = dict(zip(reader.alloc_table["ptr"].tolist(), reader.alloc_table["size"].tolist(), strict=True))
    for sample in np.linspace(0, len(source) - 1, min(READ_BACK, len(source)), dtype=np.int64).tolist():
        start = int(reader.metadata["f0"]["data_ptr"][sample])
        stored = memory[start : start + sizes[start]]
        written = source.picture(sample)
        if encoding == "raw":
            good = np.array_equal(stored.reshape(written.shape), written)
        else:
            read = np.asarray(Image.open(BytesIO(stored.tobytes())).convert("RGB"), dtype=np.float32)
            good = float(np.abs(read - written).mean()) < 16  # JPEG at quality 90 is far closer than that
        if not good:
            raise RuntimeError(f"{path}: sample {sample} ({source.places(sample)}) read back differs from what was written")


def import_ffcv() -> Any:
    """The ffcv package. Raises UserError with how to install it, since it builds from source."""
    threads = torch.get_num_threads()
    try:
        import ffcv
        import ffcv.loader
        import ffcv.writer
        import numba
        from ffcv.pipeline.compiler import Compiler
        from numba.core.config import NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    except ImportError as error:
        raise UserError(
            f"FFCV cannot be imported ({error}); ./launch/test.sh or ./launch/quickstart.sh installs it (it needs "
            "libturbojpeg0-dev, libopencv-dev, pkg-config and a C++ compiler), or read the pictures without it: --data.loader=torchvision"
        ) from None

    def set_num_threads(_: type, count: int) -> None:
        Compiler.num_threads = max(1, min(count, NUMBA_NUM_THREADS))
        numba.set_num_threads(Compiler.num_threads)

    # FFCV gives its number of threads to all of torch, when it is imported too; only numba is meant.
    Compiler.set_num_threads = classmethod(set_num_threads)
    torch.set_num_threads(threads)
    return ffcv


def _work(
    todo: Any,
    memory: Any,
    layout: np.dtype,
    fields: Any,
    allocator: Any,
    done: Any,
    results: Any,
    source: Source,
) -> None:
    """A writing process: put its chunks of samples into the file, then send its allocations or the first mistake."""
    from ffcv.writer import handle_sample

    metadata = np.frombuffer(memory.buf, dtype=layout)
    try:
        with allocator:
            while (chunk := todo.get()) is not None:
                for sample in chunk:
                    handle_sample(
                        (source.picture(sample), int(source.labels[sample])),
                        sample,
                        layout.names,
                        metadata,
                        allocator,
                        fields,
                    )
                with done.get_lock():
                    done.value += len(chunk)
        results.put(allocator.allocations)
    except Exception as error:
        results.put(error)


def _writer_class() -> Any:
    """FFCV's writer, but one that notices when a writing process fails: FFCV's own waits for it forever."""
    import_ffcv()
    from ffcv.memory_allocator import MemoryAllocator
    from ffcv.writer import DatasetWriter

    class Writer(DatasetWriter):
        def write(self, source: Source, progress: Progress) -> None:
            self.num_samples = len(source)
            self.prepare()
            fork = get_context("fork")  # a source may hold open files and functions, which other ways cannot pass on
            todo, results, done = fork.Queue(), fork.Queue(), fork.Value(c_uint64, 0)
            for chunk in np.array_split(np.arange(len(source)), max(self.num_workers, len(source) // 100)):
                todo.put(chunk.tolist())
            for _ in range(self.num_workers):
                todo.put(None)
            allocator = MemoryAllocator(self.fname, self.data_region_start, self.page_size)
            arguments = (todo, self.metadata_sm, self.metadata_type, self.fields, allocator, done, results, source)
            processes = [fork.Process(target=_work, args=arguments, daemon=True) for _ in range(self.num_workers)]
            try:
                for process in processes:
                    process.start()
                self.finalize(_collect(processes, results, done, len(source), progress))
            finally:
                for process in processes:
                    process.terminate()
                    process.join()
                self.metadata_sm.close()
                self.metadata_sm.unlink()

    return Writer


def _collect(processes: list[Any], results: Any, done: Any, total: int, progress: Progress) -> list[Any]:
    """Every process's allocations. Raises what a process raised, or that one was killed."""
    allocations: list[Any] = []
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
        allocations.extend(result)
    progress(total, total)
    return allocations


def wait_for_lock(path: Path, say: Callable[[str], None]) -> Any:
    """An exclusive lock on `path`, held until the returned file is closed or its process dies."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115 - the caller closes it
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if not told:
                say(f"waiting for another process that prepares {path.stem}")
                told = True
            time.sleep(0.2)
