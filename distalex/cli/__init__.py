"""The command line: from words and options to the work of one command."""

import sys
from importlib.util import find_spec

NEEDED = ("fire", "numba", "numpy", "PIL", "pydantic", "rich", "torch", "torchvision", "yaml")

if missing := [name for name in NEEDED if find_spec(name) is None]:
    print(
        f"distalex: this Python ({sys.executable}) has no {', '.join(missing)}; use the one that has: source .venv/bin/activate, "
        "or install distalex into it: pip install DIR, the folder of pyproject.toml",
        file=sys.stderr,
    )
    raise SystemExit(2)
