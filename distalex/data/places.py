"""Where data sets are looked for and prepared files are kept."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The environment's DISTALEX_DATA, else `data/` here."""
    return Path(os.environ.get("DISTALEX_DATA") or "data")


def prepared_folder() -> Path:
    """Where prepared files of named data sets go: `prepared/` beside the data, or below `data/` where that is read-only."""
    folder = data_folder() / "prepared"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path("data") / "prepared"
    return folder if os.access(folder, os.W_OK) else Path("data") / "prepared"
