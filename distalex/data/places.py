"""Where data sets are looked for and prepared files are kept."""

from __future__ import annotations

import os
from pathlib import Path

from distalex.errors import UserError


def data_folder() -> Path:
    """Folder of the data sets: DISTALEX_DATA of the environment, else `data/` in the current folder."""
    return Path(os.environ.get("DISTALEX_DATA") or "data").expanduser()


def prepared_folder() -> Path:
    """Folder of prepared files of named data sets: `prepared/` beside the data, or in `data/` where that is read-only.

    Raises UserError where neither can be written.
    """
    for folder in (data_folder() / "prepared", Path("data") / "prepared"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise UserError(f"{folder}: cannot be written, and prepared files go there; name a writable folder in the environment's DISTALEX_DATA")
