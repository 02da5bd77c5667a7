"""`python -m distalex.bench WHAT`: run one benchmark."""

from __future__ import annotations

import importlib

from distalex.bench.options import BenchmarkOptions, name_of
from distalex.bench.programs import ended_together
from distalex.errors import UserError, brief

NO_MEMORY = ("allocate memory", "out of memory", "Storage size calculation overflowed")
"""What PyTorch says where a tensor does not fit."""


def bench(options: BenchmarkOptions) -> int:
    """Run the benchmark that `options` belong to; returns the exit status, 1 where something in it failed.

    Raises UserError where the memory is too small for it.
    """
    name = name_of(options)
    module = importlib.import_module(f"distalex.bench.{name}")  # each imports only what it measures
    try:
        with ended_together():
            return 1 if getattr(module, f"bench_{name}")(options).get("failed") else 0
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
            raise UserError(f"bench {name}: not enough memory ({brief(error)}); use smaller batches") from None
        raise
