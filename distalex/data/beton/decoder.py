"""Decoding images of prepared files into a batch, with a decoder that Numba compiles once and caches on disk.

FFCV's own decoders are compiled in every process, for seconds, and read a single file. JPEG goes through FFCV's library,
which is libjpeg-turbo.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core import types

from distalex.data.beton.ffcv import import_ffcv, labels_in
from distalex.shares import share

u4: Any = types.uint32
u8: Any = types.uint64
_imdecode: Any = types.ExternalFunction("imdecode", types.int32(u8, u8, u4, u4, u8, u4, u4, u4, u4, u4, u4, u4, u4))
_memcpy: Any = types.ExternalFunction("memcpy", u8(u8, u8, u8))
MIN_BYTES_FOR_THREADS = 2**22
"""Batches smaller than this (bytes) are copied on one thread."""


def load_library() -> None:
    """Load FFCV's library for Numba's linker, before the first image is decoded."""
    import llvmlite.binding

    import_ffcv()
    import ffcv._libffcv

    llvmlite.binding.load_library_permanently(ffcv._libffcv.__file__)


class PreparedImages:
    """Addresses of all images of one or more prepared files of one size, numbered through."""

    def __init__(self, paths: Sequence[Path]) -> None:
        from ffcv.fields.rgb_image import IMAGE_MODES
        from ffcv.reader import Reader

        self.files: list[np.memmap] = []
        tables = []
        for path in paths:
            reader = Reader(str(path))
            self.files.append(np.memmap(path, dtype=np.uint8, mode="r"))
            fields, allocated = reader.metadata["f0"], reader.alloc_table
            order = np.argsort(allocated["ptr"])
            sizes = allocated["size"][order][np.searchsorted(allocated["ptr"][order], fields["data_ptr"])]
            addresses = self.files[-1].ctypes.data + fields["data_ptr"].astype(np.uint64)
            labels = labels_in(reader)
            tables.append((addresses, sizes.astype(np.uint64), fields["mode"] == IMAGE_MODES["jpg"], labels))
        self.side = int(fields["width"][0])
        self.addresses, self.sizes, self.is_jpeg, self.labels = (np.concatenate(parts) for parts in zip(*tables, strict=True))
        self.threads: ThreadPoolExecutor | None = None

    def decode(self, samples: np.ndarray, out: np.ndarray, workers: int) -> np.ndarray:
        """Fill `out` (n, side, side, 3) uint8 with the images of `samples`, on `workers` threads. Raises OSError where one is damaged."""
        arrays = out, self.addresses[samples], self.sizes[samples], self.is_jpeg[samples]
        if workers > 1 and (out.nbytes > MIN_BYTES_FOR_THREADS or arrays[-1].any()):
            if self.threads is None:
                self.threads = ThreadPoolExecutor(workers, "distalex-reading")
            shares = [share(len(samples), worker, workers) for worker in range(workers)]
            bad = sum(self.threads.map(lambda rows: _decode(*(array[rows] for array in arrays)), shares))
        else:
            bad = _decode(*arrays)
        if bad:
            raise OSError(f"{bad} damaged image(s) among samples {samples[:3].tolist()}, …")
        return out


@njit(nogil=True, cache=True)
def _decode(out: Any, addresses: Any, sizes: Any, is_jpeg: Any) -> Any:
    """Decode each image; return how many could not be decoded."""
    side, each, bad = u4(out.shape[1]), u8(out.shape[1] * out.shape[2] * 3), 0
    zero, one = u4(0), u4(1)
    for number in range(len(addresses)):
        target = u8(out[number].ctypes.data)
        if is_jpeg[number]:
            status = _imdecode(addresses[number], sizes[number], side, side, target, side, side, zero, zero, one, one, zero, zero)
            bad += status != 0
        elif sizes[number] == each:
            _memcpy(target, addresses[number], each)
        else:
            bad += 1
    return bad
