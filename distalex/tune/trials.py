"""The JSON file of a command's trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distalex.config.config import Config
from distalex.files import refuse_unwritable, write_atomically


def write_trials(out: str | None, trials: dict[str, Any], config: Config) -> None:
    """Write what was measured, with the config, to the file `out`; nothing for None. Raises UserError where it cannot be written."""
    if out is None:
        return
    path = Path(out)
    with refuse_unwritable(path, "out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({**trials, "config": config.model_dump(mode="json")}, indent=1).encode())
