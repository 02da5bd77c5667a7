"""`python -m distalex.bench WHAT`: run one benchmark."""

from __future__ import annotations

import importlib

from distalex.bench.options import BenchmarkOptions, name_of


def bench(options: BenchmarkOptions) -> int:
    """Run the benchmark that `options` belong to; returns the exit status, 1 where something in it failed."""
    name = name_of(options)
    module = importlib.import_module(f"distalex.bench.{name}")  # each imports only what it measures
    return 1 if getattr(module, f"bench_{name}")(options).get("failed") else 0
