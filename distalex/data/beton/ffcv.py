"""Importing FFCV, without the changes that it makes to the whole process."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from distalex.errors import UserError


def import_ffcv() -> Any:
    """The ffcv package. Raises UserError, with how to install it, where it is missing, as it builds from source."""
    threads = torch.get_num_threads()
    try:
        import numba.typed
    except ImportError as error:
        raise UserError(f"Numba cannot be imported ({error}); ./launch/test.sh or ./launch/quickstart.sh installs it") from None
    typed, set_num_threads = numba.typed.Dict, numba.set_num_threads
    numba.typed.Dict = dict  # type: ignore[misc] # for FFCV's table of two encodings, Numba compiles for two seconds
    numba.set_num_threads = lambda n: None  # starts TBB's threads, which nothing here uses and which can hang at exit
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, in a notebook without ipywidgets
            import ffcv
            import ffcv.loader
            import ffcv.writer
        from ffcv.memory_managers.os_cache import OSCacheManager
        from ffcv.pipeline.compiler import Compiler
    except ImportError as error:
        raise UserError(
            f"prepared files (.beton) need FFCV, which cannot be imported ({error}); ./launch/test.sh or ./launch/quickstart.sh installs "
            "it (it needs Linux, libturbojpeg0-dev, libopencv-dev, pkg-config and a C++ compiler), or train on the original images, which "
            "need none: data.root=DIR"
        ) from None
    finally:
        numba.typed.Dict, numba.set_num_threads = typed, set_num_threads  # type: ignore[misc]
        torch.set_num_threads(threads)  # FFCV gives its own number of threads to all of torch
    Compiler.set_num_threads = classmethod(lambda cls, count: None)
    OSCacheManager.state_type = property(_state_type)
    return ffcv


def why_no_ffcv() -> str:
    """Return why FFCV cannot be imported, as on other systems than Linux; empty where it can."""
    try:
        import_ffcv()
    except UserError as error:
        return " ".join(str(error.__context__ or error).split())
    return ""


def labels_in(reader: Any) -> np.ndarray:
    """(n,) int64: the labels in the table of an FFCV reader, which has them as bytes."""
    return reader.metadata["f1"].reshape(-1).view(np.int64)


def _state_type(_: Any) -> Any:
    """Return the Numba type of what FFCV's readers share: the file's bytes, read-only, and two tables of 64-bit numbers.

    FFCV's own property clears `mutable` on Numba's one and only type of uint8 arrays, after which no kernel that writes to one
    can be compiled in this process.
    """
    from numba import types

    table = types.Array(types.uint64, 1, "C")
    return types.Tuple([types.Array(types.uint8, 1, "C", readonly=True), table, table])
