"""What is given to understand a layout: the images, what lies beside them, and what the user asks for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from distalex.data.files.tree import Files


@dataclass(frozen=True)
class Asked:
    """What the user asks for."""

    labels: str | None = None
    """File with the classes (`data.labels`)."""
    columns: Mapping[str, str] | None = None
    """Names of a table's columns: path, label and split (`data.columns`)."""
    class_from: str = "auto"
    """Where the class stands in an image's path (`data.class_from`)."""


@dataclass(frozen=True)
class Given:
    """Images without masks, and what lies beside them."""

    files: Files
    images: list[str]
    others: list[str]
    unread: Mapping[str, list[str]]
    """Images that are not read, by a reason."""
    asked: Asked

    def below(self, prefix: str) -> list[str]:
        """The images in a folder, which is given with its slash."""
        return [name for name in self.images if name.startswith(prefix)]

    def place(self, prefix: str) -> str:
        """A folder for messages, as it is typed in a shell."""
        return shlex.quote(f"{self.files.origin}/{prefix.rstrip('/')}" if prefix else self.files.origin)
