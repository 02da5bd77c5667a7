"""A home for libraries that write into one, where this user has none: an unknown user in a container, code that cannot be written."""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
from pathlib import Path

from distalex.errors import UserError

CACHES = {"XDG_CACHE_HOME": "", "MPLCONFIGDIR": "matplotlib", "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "torchinductor"}
"""Variables that say where libraries cache, with the folder below that of all caches."""


def provide_home() -> None:
    """Let libraries cache in the system's temporary folder where the user's own cache cannot be written, and print that on rank 0.

    HOME is set too where there is no such folder, and LOGNAME where the system does not know the user: Numba, W&B and torch.compile
    need them. Raises UserError where nothing can be written.
    """
    home = Path(os.path.expanduser("~"))
    has_home = home.is_absolute() and (home.is_dir() or _may_write(home))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    if not (has_home and _may_write(cache)):
        own = _own_folder()
        for name, folder in CACHES.items():
            if name == "XDG_CACHE_HOME" or name not in os.environ:
                os.environ[name] = str(own / folder)
        if not has_home:
            os.environ["HOME"] = str(own)
        if os.environ.get("RANK", "0") == "0":
            print(f"distalex: {cache} cannot be written, so caches are kept in {own}; set HOME to keep them", file=sys.stderr, flush=True)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")


def _may_write(folder: Path) -> bool:
    """Whether this user may write into a folder, or create it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """The user's folder in the system's temporary one; a new one where somebody else has that name."""
    try:
        folder = Path(tempfile.gettempdir()) / f"distalex-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"no folder for caches can be written ({error}); set HOME or TMPDIR to one that can") from None
    return folder if folder.lstat().st_uid == os.getuid() and not folder.is_symlink() else Path(tempfile.mkdtemp(prefix="distalex-"))
