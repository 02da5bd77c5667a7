"""What the command line needs of a command besides its options: usage, purpose, the words it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from distalex.config.schema import Section

# Options that several commands have.
RunPlace = Annotated[str, Field(min_length=1, description="A run (its name or folder) or a checkpoint.")]
RunOrNewest = Annotated[
    str | None,
    Field(
        min_length=1,
        description="A run (its name or folder), of which the best checkpoint is used, or a checkpoint. Default: the newest\nrun.",
    ),
]
RunsDir = Annotated[str, Field(min_length=1, description="Folder of the runs, for a run given by its name.")]
DataRoot = Annotated[str | None, Field(description="Folder of the data, if it has moved since the run.")]
SkipBad = Annotated[bool, Field(description="Skip unreadable images, which are reported, instead of failing. Default: as the run did.")]


class CommandOptions(Section):
    """Options of one command; the docstring of a subclass is the command's purpose, in one line of help."""

    none_is_nothing: ClassVar[bool] = False
    usage: ClassVar[str]
    """How the command is typed; further lines for further forms."""
    words: ClassVar[tuple[str, ...]] = ()
    """Options that may be given as words without a name, in this order."""
    rest: ClassVar[str | None] = None
    """Option that takes all further words."""
    short: ClassVar[Mapping[str, str]] = {}
    """Maps an alias to its option."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Sections of a config whose options the command takes too and `--help` lists, with "" for the top level. Empty: it takes no config."""

    def overrides(self) -> Mapping[str, str]:
        """Options of the config that these stand for, by dotted name; those on the command line have precedence."""
        return {}
