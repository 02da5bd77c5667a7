"""What may change when a run is resumed."""

from __future__ import annotations

MAY_CHANGE = (
    "parallel",
    "device",
    "name",
    "runs_dir",
    "log.",
    "checkpoint.",
    "data.root",
    "data.workers",
    "train.threads",
    "train.timeout",
    "train.max_steps",
    "train.compile",
    "train.profile",
)
"""Beginnings of the options that say where, how fast and how long a run goes, and not what it computes."""
