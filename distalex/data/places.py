"""Where data sets are looked for and prepared files are kept."""

from __future__ import annotations

import os
from pathlib import Path

from distalex.errors import UserError


def data_folder() -> Path:
    """The environment's DISTALEX_DATA, else `data/` here."""
    return Path(os.environ.get("DISTALEX_DATA") or "data")


def prepared_folder() -> Path:
    """Where prepared files of named data sets go: `prepared/` beside the data, or below `data/` where that is read-only."""
    for folder in (data_folder() / "prepared", Path("data") / "prepared"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise UserError(f"{folder}: cannot be written, and prepared files go there; name a folder that can with DISTALEX_DATA")
