"""`python -m distalex.bench WHAT`: run one benchmark."""

from __future__ import annotations

import importlib

from distalex.bench.options import BenchOptions


def bench(options: BenchOptions) -> int:
    """Run the benchmark `options.what`; returns the exit status, 1 where something in it failed."""
    module = importlib.import_module(f"distalex.bench.{options.what}")  # each imports only what it measures
    return 1 if getattr(module, f"bench_{options.what}")(options).get("failed") else 0
